"""The network: torchvision's ResNet18, taking pixels from 0 to 1 and normalising them itself."""

from collections.abc import Mapping
from typing import Self

import torch
from torch import Tensor, nn
from torchvision.models import resnet18

from blocks.errors import UnusableModel

ARCHITECTURE = "resnet18"
STAGES = (("conv1", "bn1"), ("layer1",), ("layer2",), ("layer3",), ("layer4",))
_HEAD = "fc."


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
        self._frozen: tuple[nn.Module, ...] = ()

    def forward(self, images: Tensor) -> Tensor:
        """Return the logits of a batch of images."""
        logits: Tensor = self.network((images - self.mean) / self.std)
        return logits

    def begin_with(self, weights: Mapping[str, Tensor], source: str) -> None:
        """Take over weights; those of the last layer only where they tell apart as many classes.

        Raises `UnusableModel`, naming what is missing or does not fit, where they are not a ResNet18's.
        """
        own = self.network.state_dict()
        given = {name.removeprefix("network."): tensor for name, tensor in weights.items()}
        wrong = [
            name
            for name, tensor in own.items()
            if not name.startswith(_HEAD) and (name not in given or given[name].shape != tensor.shape)
        ]
        if wrong:
            raise UnusableModel(
                f"weights {source}: {len(wrong)} of {len(own)} tensors are missing or of another shape, the first is "
                f"{wrong[0]!r}; expected a state dict of ResNet18"
            )
        fits = all(given[n].shape == own[n].shape for n in own if n.startswith(_HEAD) and n in given)
        taken = {name: given[name] for name in own if name in given and (fits or not name.startswith(_HEAD))}
        self.network.load_state_dict(taken, strict=False)

    def freeze(self, stages: int) -> None:
        """Keep the first stages as they are, their statistics included: training changes only what follows."""
        names = [name for stage in STAGES[:stages] for name in stage]
        self._frozen = tuple(self.network.get_submodule(name) for name in names)
        for module in self._frozen:
            module.requires_grad_(False)

    def train(self, mode: bool = True) -> Self:
        """Set the mode of all but the frozen stages, which stay in that of evaluation."""
        super().train(mode)
        for module in self._frozen:
            module.eval()
        return self
