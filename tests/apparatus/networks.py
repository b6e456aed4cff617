"""Networks that train and export in a moment, for what is not about ResNet18."""

import torch
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
