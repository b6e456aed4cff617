"""Networks that train and export in a moment, for what is not about ResNet18."""

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn


class SmallNetwork(nn.Module):
    """Pixels (n, 3, height, width) to logits (n, classes), by one linear layer over an 8 x 8 thumbnail."""

    def __init__(self, classes: int) -> None:
        super().__init__()
        self.pool = nn.AdaptiveAvgPool2d(8)
        self.output = nn.Linear(3 * 64, classes)

    def forward(self, images: Tensor) -> Tensor:
        logits: Tensor = self.output(torch.flatten(self.pool(images), 1) - 0.5)
        return logits


class NormalisedNetwork(nn.Module):
    """A network as small, with statistics that every batch changes, as ResNet18 has them."""

    def __init__(self, classes: int) -> None:
        super().__init__()
        self.pool = nn.AdaptiveAvgPool2d(8)
        self.norm = nn.BatchNorm1d(3 * 64)
        self.output = nn.Linear(3 * 64, classes)

    def forward(self, images: Tensor) -> Tensor:
        logits: Tensor = self.output(self.norm(torch.flatten(self.pool(images), 1)))
        return logits


class ConvolutionalNetwork(nn.Module):
    """Convolutions with statistics and a residual, as ResNet18 has them, that learn the digits in an epoch or two."""

    def __init__(self, classes: int) -> None:
        super().__init__()
        self.pool = nn.AdaptiveAvgPool2d(8)
        self.first = nn.Conv2d(3, 32, 3, padding=1, bias=False)
        self.norm = nn.BatchNorm2d(32)
        self.second = nn.Conv2d(32, 32, 3, padding=1)
        self.output = nn.Linear(32 * 16, classes)

    def forward(self, images: Tensor) -> Tensor:
        found = torch.relu(self.norm(self.first(self.pool(images))))
        found = torch.relu(found + self.second(found))
        logits: Tensor = self.output(torch.flatten(nn.functional.max_pool2d(found, 2), 1))
        return logits


def learn(network: nn.Module, images: NDArray[np.uint8], labels: NDArray[np.int64], epochs: int = 3) -> None:
    """Train a network in place, the same way each time; it is ready to infer then."""
    torch.manual_seed(0)
    optimiser = torch.optim.Adam(network.train().parameters(), lr=0.003)
    for _ in range(epochs):
        for chosen in torch.split(torch.randperm(len(labels)), 64):
            inputs = torch.from_numpy(images[chosen.numpy()]).float() / 255
            optimiser.zero_grad()
            nn.functional.cross_entropy(network(inputs), torch.from_numpy(labels)[chosen]).backward()  # type: ignore[no-untyped-call]
            optimiser.step()
    network.eval()
