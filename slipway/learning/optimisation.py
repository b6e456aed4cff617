"""The optimiser, its schedule, and the size of the images it learns from: all that depends on how far a training is."""

import torch
from torch import nn

from slipway.learning.parameters import Optimizer

WEIGHT_DECAY = 0.05  # AdamW's, apart from the gradient
_L2, _MOMENTUM = 5e-4, 0.9  # of SGD, where it is part of the gradient
FULL_SIZE_FROM = 2 / 3  # of the epochs
_SIZE_STEP = 32  # pixels, by how much the network halves its input five times


def count_steps(images: int, batch_size: int) -> int:
    """Return the optimiser steps in one epoch; a last, smaller batch is left for another epoch's shuffle."""
    return max(1, images // batch_size)


def make_optimiser(
    model: nn.Module, kind: Optimizer, learning_rate: float, *, fused: bool = False
) -> torch.optim.Optimizer:
    """Return an optimiser of the weights that are not frozen; a fused one changes them all in one kernel."""
    weights = [parameter for parameter in model.parameters() if parameter.requires_grad]
    choice = True if fused else None  # PyTorch's own choice otherwise
    if kind == "sgd":
        return torch.optim.SGD(weights, lr=learning_rate, momentum=_MOMENTUM, weight_decay=_L2, fused=choice)
    if kind == "adam":
        return torch.optim.Adam(weights, lr=learning_rate, fused=choice)
    return torch.optim.AdamW(weights, lr=learning_rate, weight_decay=WEIGHT_DECAY, fused=choice)


def choose_size(epoch: int, epochs: int, size: tuple[int, int], first: float) -> tuple[int, int]:
    """Return the height and width an epoch learns at: from `first` of the full ones, in steps of 32, to the full ones.

    The last third of the epochs is at full size: what a network is used at, it has to have seen.
    """
    if epoch > epochs * FULL_SIZE_FROM:
        return size
    share = first + (1 - first) * (epoch - 1) / (epochs * FULL_SIZE_FROM)
    height, width = (max(_SIZE_STEP, round(share * side / _SIZE_STEP) * _SIZE_STEP) for side in size)
    return min(height, size[0]), min(width, size[1])
