"""Evaluation: how a model does on a split, in full precision where it is registered or judged by a gate."""

from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.nn import functional

from blocks.errors import InvalidInput
from slipway.learning.augmentation import lay_out, scale
from slipway.learning.datasets import ImageSplit
from slipway.learning.precision import FULL, autocast, forcing_full_precision

BATCH, BATCH_OF_HALVES = 256, 512


@dataclass(frozen=True)
class Judgement:
    """How a model does on a split: accuracy from 0 to 1, mean cross-entropy, logits (n, classes) float32."""

    accuracy: float
    loss: float
    logits: NDArray[np.float32]


def evaluate(model: nn.Module, split: ImageSplit, classes: int, device: torch.device) -> Judgement:
    """Put a model into evaluation mode and return its figures on a split, in full precision.

    Raises `InvalidInput` where the model tells apart another number of classes.
    """
    with forcing_full_precision():
        logits = compute_logits(model, split.images, device, FULL)
    return judge(logits, split.labels, classes)


@torch.no_grad()
def compute_logits(
    model: nn.Module, images: NDArray[np.uint8] | Tensor, device: torch.device, precision: torch.dtype
) -> Tensor:
    """Put a model into evaluation mode and return its logits, on the CPU, for images that lie here or on the device."""
    # An exported program stays in the mode it was exported in, and raises where it is asked for another.
    if not isinstance(model, torch.fx.GraphModule):
        model.eval()
    at_once = BATCH if precision == FULL else BATCH_OF_HALVES
    with autocast(device, precision):
        logits = [
            model(lay_out(scale(_bring(images[start : start + at_once], device), precision))).float()
            for start in range(0, len(images), at_once)
        ]
    # one copy at the end: the device is not waited for between batches
    return torch.cat(logits).cpu()


def judge(logits: Tensor, labels: NDArray[np.int64], classes: int) -> Judgement:
    """Return the figures that logits come to; `InvalidInput` where they are not of so many classes."""
    if logits.shape[1] != classes:
        raise InvalidInput(
            f"the model tells {logits.shape[1]} classes apart, the images have {classes}; expected the same: "
            "a model of other classes needs a name of its own"
        )
    expected = torch.from_numpy(labels)
    return Judgement(
        accuracy=(logits.argmax(1) == expected).double().mean().item(),
        loss=functional.cross_entropy(logits, expected).item(),
        logits=logits.numpy(),
    )


def _bring(images: NDArray[np.uint8] | Tensor, device: torch.device) -> Tensor:
    # copied, since what is mapped from a file cannot be written to
    return images if isinstance(images, Tensor) else torch.from_numpy(images.copy()).to(device)
