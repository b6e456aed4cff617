"""The network: torchvision's ResNet18, taking pixels from 0 to 1 and normalising them itself."""

import torch
from torch import Tensor, nn
from torchvision.models import resnet18

ARCHITECTURE = "resnet18"


class ResNet18(nn.Module):
    """ResNet18 (He et al., 2015) with random weights: (n, 3, height, width) float32 in 0..1 to logits (n, classes).

    The normalisation is part of the graph, so that nobody who calls the served model has to know its constants.
    """

    mean: Tensor
    std: Tensor

    def __init__(self, classes: int) -> None:
        super().__init__()
        self.register_buffer("mean", torch.tensor([0.485, 0.456, 0.406]).view(1, 3, 1, 1))
        self.register_buffer("std", torch.tensor([0.229, 0.224, 0.225]).view(1, 3, 1, 1))
        self.network = resnet18(weights=None, num_classes=classes)

    def forward(self, images: Tensor) -> Tensor:
        """Return the logits of a batch of images."""
        logits: Tensor = self.network((images - self.mean) / self.std)
        return logits
