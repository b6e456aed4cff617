"""The training loop: an optimiser under a one-cycle schedule, the best epoch kept, the same seed the same weights."""

import math
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from copy import deepcopy
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.nn import functional

from blocks.errors import InvalidInput, UnusableModel
from slipway.learning.datasets import ImageDataset, ImageSplit
from slipway.learning.parameters import Optimizer

EVALUATION_BATCH = 256
WEIGHT_DECAY = 0.05  # AdamW's, apart from the gradient
_L2, _MOMENTUM = 5e-4, 0.9  # of SGD, where it is part of the gradient


@dataclass(frozen=True)
class Judgement:
    """How a model does on a split: accuracy from 0 to 1, mean cross-entropy, logits (n, classes) float32."""

    accuracy: float
    loss: float
    logits: NDArray[np.float32]


@dataclass(frozen=True)
class EpochFigures:
    """What one epoch came to. Accuracies are fractions; `best_*` are of the best epoch so far."""

    epoch: int
    train_loss: float
    val_loss: float
    val_accuracy: float
    epoch_time_s: float
    best_epoch: int
    best_val_accuracy: float
    best_val_loss: float


@contextmanager
def deterministic(seed: int) -> Iterator[None]:
    """Make what is computed inside depend on nothing but `seed`, and leave the process' settings as they were."""
    before = torch.are_deterministic_algorithms_enabled()
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        # Only warned about: a GPU kernel without a deterministic variant is no reason not to train.
        torch.use_deterministic_algorithms(True, warn_only=True)
        try:
            yield
        finally:
            torch.use_deterministic_algorithms(before)


def count_steps(images: int, batch_size: int) -> int:
    """Return the optimiser steps in one epoch; a last, smaller batch is left for another epoch's shuffle."""
    return max(1, images // batch_size)


def make_optimiser(model: nn.Module, kind: Optimizer, learning_rate: float) -> torch.optim.Optimizer:
    """Return an optimiser of the weights that are not frozen."""
    weights = [parameter for parameter in model.parameters() if parameter.requires_grad]
    if kind == "sgd":
        return torch.optim.SGD(weights, lr=learning_rate, momentum=_MOMENTUM, weight_decay=_L2)
    if kind == "adam":
        return torch.optim.Adam(weights, lr=learning_rate)
    return torch.optim.AdamW(weights, lr=learning_rate, weight_decay=WEIGHT_DECAY)


class Fitting:
    """A model that is trained in place, epoch by epoch; at the end it carries the best epoch's weights.

    The best epoch has the highest validation accuracy, among equals the lowest loss. On a GPU: mixed precision,
    channels last, decoded images resident.
    """

    def __init__(
        self,
        model: nn.Module,
        dataset: ImageDataset,
        *,
        epochs: int,
        learning_rate: float,
        batch_size: int,
        device: torch.device,
        optimizer: Optimizer = "adamw",
    ) -> None:
        _move(model, device)
        self.model, self.history = model, list[EpochFigures]()
        self._dataset, self._device, self._epochs, self._batch_size = dataset, device, epochs, batch_size
        self._images, self._labels = _make_resident(dataset.train, device)
        self._steps = count_steps(len(self._labels), batch_size)
        self._optimiser = make_optimiser(model, optimizer, learning_rate)
        self._schedule = torch.optim.lr_scheduler.OneCycleLR(
            self._optimiser, learning_rate, total_steps=epochs * self._steps
        )
        self._scaler = torch.amp.GradScaler(device.type, enabled=device.type == "cuda")
        self._best_weights: dict[str, Tensor] = {}

    @property
    def epoch(self) -> int:
        """The last finished epoch, 0 before the first."""
        return len(self.history)

    @property
    def steps_left(self) -> int:
        """The optimiser steps that are still to be done."""
        return (self._epochs - self.epoch) * self._steps

    def train_epochs(self, on_step: Callable[[], None] = lambda: None) -> Iterator[EpochFigures]:
        """Train the epochs that are left and yield the figures of each; `UnusableModel` once a loss is no number."""
        while self.epoch < self._epochs:
            figures = self._run_epoch(on_step)
            self.history.append(figures)
            if figures.best_epoch == figures.epoch:
                self._best_weights = _copy(self.model.state_dict())
            yield figures
        self.model.load_state_dict(self._best_weights)

    def snapshot(self) -> dict[str, Any]:
        """Return a copy, on the same device, of all that the next epoch depends on; training on leaves it as it is.

        Between two epochs only. It consists of tensors and plain values, in a form that `torch.load` reads with
        `weights_only`.
        """
        best_now = self.history[-1].best_epoch == self.epoch
        return {
            # the best weights are a copy that nothing changes, and never stored twice
            "weights": self._best_weights if best_now else _copy(self.model.state_dict()),
            "best_weights": self._best_weights,
            "optimiser": deepcopy(self._optimiser.state_dict()),
            "schedule": deepcopy(self._schedule.state_dict()),
            "scaler": self._scaler.state_dict(),
            "random": torch.get_rng_state(),
            "cuda_random": torch.cuda.get_rng_state(self._device) if self._device.type == "cuda" else None,
            "history": [asdict(figures) for figures in self.history],
        }

    def restore(self, snapshot: dict[str, Any]) -> None:
        """Set the training to a snapshot: the next epochs are those that would have followed it."""
        self.model.load_state_dict(snapshot["weights"])
        self._best_weights = snapshot["best_weights"]
        self._optimiser.load_state_dict(snapshot["optimiser"])
        self._schedule.load_state_dict(snapshot["schedule"])
        # a scaler that was switched off, on a CPU, has no state
        if snapshot["scaler"]:
            self._scaler.load_state_dict(snapshot["scaler"])
        if self._device.type == "cuda" and snapshot["cuda_random"] is not None:
            torch.cuda.set_rng_state(snapshot["cuda_random"], self._device)
        self.history = [EpochFigures(**figures) for figures in snapshot["history"]]
        torch.set_rng_state(snapshot["random"])

    def _run_epoch(self, on_step: Callable[[], None]) -> EpochFigures:
        started = time.monotonic()
        train_loss = torch.zeros((), device=self._device)
        shuffled = torch.randperm(len(self._labels))[: self._steps * self._batch_size]
        for chosen in torch.split(shuffled, self._batch_size):
            batch = _take_batch(self._images, chosen, self._device, self._dataset)
            labels = self._labels[chosen.to(self._device)]
            train_loss += _step(self.model, batch, labels, self._optimiser, self._scaler) / self._steps
            self._schedule.step()
            on_step()
        judged = evaluate(self.model, self._dataset.validation, len(self._dataset.classes), self._device)
        before = self.history[-1] if self.history else None
        return _make_figures(self.epoch + 1, train_loss.item(), judged, time.monotonic() - started, before)


@torch.no_grad()
def evaluate(model: nn.Module, split: ImageSplit, classes: int, device: torch.device) -> Judgement:
    """Put a model into evaluation mode and return its figures on a split, in full precision.

    Raises `InvalidInput` where the model tells apart another number of classes.
    """
    # An exported program stays in the mode it was exported in, and raises where it is asked for another.
    if not isinstance(model, torch.fx.GraphModule):
        model.eval()
    batches = (split.images[start : start + EVALUATION_BATCH] for start in range(0, len(split), EVALUATION_BATCH))
    logits = torch.cat([model(_scale(torch.from_numpy(batch.copy()), device)).cpu() for batch in batches])
    if logits.shape[1] != classes:
        raise InvalidInput(
            f"the model tells {logits.shape[1]} classes apart, the images have {classes}; expected the same: "
            "a model of other classes needs a name of its own"
        )
    labels = torch.from_numpy(split.labels)
    return Judgement(
        accuracy=(logits.argmax(1) == labels).double().mean().item(),
        loss=functional.cross_entropy(logits, labels).item(),
        logits=logits.numpy(),
    )


def _copy(weights: Mapping[str, Tensor]) -> dict[str, Tensor]:
    return {name: value.detach().clone() for name, value in weights.items()}


def _move(model: nn.Module, device: torch.device) -> None:
    model.to(device)
    if device.type == "cuda":
        model.to(memory_format=torch.channels_last)


def _make_resident(split: ImageSplit, device: torch.device) -> tuple[Tensor, Tensor]:
    # Imagenette decoded at 256 pixels is 1.9 GB: memory holds it, and no loader stands between disk and step.
    images = split.images if split.images.flags.writeable else split.images.copy()
    return torch.from_numpy(images).to(device), torch.from_numpy(split.labels).to(device)


def _take_batch(images: Tensor, chosen: Tensor, device: torch.device, dataset: ImageDataset) -> Tensor:
    batch = _scale(images[chosen.to(images.device)], device)
    if dataset.augmented:
        batch = crop_randomly(batch, dataset.input_size)
    return batch.contiguous(memory_format=torch.channels_last) if device.type == "cuda" else batch


def _scale(images: Tensor, device: torch.device) -> Tensor:
    return images.to(device).float() / 255


def crop_randomly(images: Tensor, size: tuple[int, int]) -> Tensor:
    """Return one random crop (35 to 100 % of the area) of each image, half of them mirrored, at `size`.

    Where and how large is drawn on the CPU, one sampling pass then cuts the whole batch, on a GPU too.
    """
    count = len(images)
    scale = torch.empty(count).uniform_(0.35, 1).sqrt()
    mirror = torch.randint(0, 2, (count,)) * 2 - 1
    theta = torch.zeros(count, 2, 3)
    theta[:, 0, 0], theta[:, 1, 1] = scale * mirror, scale
    theta[:, :, 2] = (torch.rand(count, 2) * 2 - 1) * (1 - scale).unsqueeze(1)
    grid = functional.affine_grid(theta, [count, 3, *size], align_corners=False).to(images.device)
    return functional.grid_sample(images, grid, padding_mode="reflection", align_corners=False)


def _step(
    model: nn.Module, images: Tensor, labels: Tensor, optimiser: torch.optim.Optimizer, scaler: torch.amp.GradScaler
) -> Tensor:
    model.train()
    with torch.autocast(images.device.type, enabled=scaler.is_enabled()):
        loss = functional.cross_entropy(model(images), labels)
    optimiser.zero_grad(set_to_none=True)
    scaler.scale(loss).backward()  # type: ignore[no-untyped-call]
    scaler.step(optimiser)
    scaler.update()
    return loss.detach()


def _make_figures(
    epoch: int, train_loss: float, judged: Judgement, epoch_time_s: float, best: EpochFigures | None
) -> EpochFigures:
    if not (math.isfinite(train_loss) and math.isfinite(judged.loss)):
        raise UnusableModel(
            f"training diverged in epoch {epoch}: training loss {train_loss}, validation loss {judged.loss}; "
            "expected finite numbers: lower learning_rate, or look for broken images"
        )
    better = best is None or (judged.accuracy, -judged.loss) > (best.best_val_accuracy, -best.best_val_loss)
    return EpochFigures(
        epoch=epoch,
        train_loss=train_loss,
        val_loss=judged.loss,
        val_accuracy=judged.accuracy,
        epoch_time_s=epoch_time_s,
        best_epoch=epoch if better or best is None else best.best_epoch,
        best_val_accuracy=judged.accuracy if better or best is None else best.best_val_accuracy,
        best_val_loss=judged.loss if better or best is None else best.best_val_loss,
    )
