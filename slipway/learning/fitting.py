"""The training loop: an optimiser under a one-cycle schedule, the best epoch kept, the same seed the same weights."""

import time
from collections.abc import Callable, Iterator, Mapping
from copy import deepcopy
from dataclasses import asdict
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional

from blocks.errors import IntegrityError
from slipway.learning.augmentation import prepare
from slipway.learning.averaging import WeightAverage
from slipway.learning.datasets import ImageDataset, ImageSplit
from slipway.learning.evaluation import Judgement, compute_logits, evaluate, judge
from slipway.learning.history import EpochFigures, correct_best, sum_up_epoch
from slipway.learning.optimisation import choose_size, count_steps, make_optimiser
from slipway.learning.planning import Plan
from slipway.learning.precision import FULL, autocast, make_scaler


class Fitting:
    """A model that is trained in place, epoch by epoch; at the end it carries the best epoch's weights.

    The best epoch has the highest validation accuracy, among equals the lowest loss. With an average of the weights,
    that is what is judged, and kept. On a GPU everything lies there, and neither a batch nor a random number comes from
    outside; epochs are judged in halves, and the best one again in full precision once all are done.
    """

    def __init__(self, model: nn.Module, dataset: ImageDataset, plan: Plan) -> None:
        self.model, self.history = model, list[EpochFigures]()
        self._plan, self._recipe, self._dataset = plan, plan.recipe, dataset
        model.to(plan.device)
        if plan.precision != FULL:
            model.to(memory_format=torch.channels_last)
        self._network = torch.compile(model, dynamic=False) if plan.compiled else model
        self._images, self._labels = _make_resident(dataset.train, plan.device)
        self._validation = _make_resident(dataset.validation, plan.device)[0] if plan.device.type != "cpu" else None
        self._steps = count_steps(len(self._labels), plan.batch_size)
        self._optimiser = make_optimiser(
            model, self._recipe.optimizer, self._recipe.learning_rate, fused=plan.device.type == "cuda"
        )
        self._schedule = torch.optim.lr_scheduler.OneCycleLR(
            self._optimiser, self._recipe.learning_rate, total_steps=self._recipe.epochs * self._steps
        )
        self._scaler = make_scaler(plan.device, plan.precision)
        reach = self._recipe.averaged_epochs * self._steps
        self._average = WeightAverage(model, reach) if reach else None
        self._best_weights: dict[str, Tensor] = {}

    @property
    def epoch(self) -> int:
        """The last finished epoch, 0 before the first."""
        return len(self.history)

    @property
    def steps_left(self) -> int:
        """The optimiser steps that are still to be done."""
        return (self._recipe.epochs - self.epoch) * self._steps

    def train_epochs(self, on_step: Callable[[], None] = lambda: None) -> Iterator[EpochFigures]:
        """Train the epochs that are left and yield the figures of each; `UnusableModel` once a loss is no number."""
        while self.epoch < self._recipe.epochs:
            figures = self._run_epoch(on_step)
            if figures.is_best:
                self._best_weights = _copy(self._judged.state_dict())
            if figures.epoch == self._recipe.epochs and self._plan.precision != FULL:
                figures = correct_best(figures, self._judge_best_again())
            self.history.append(figures)
            yield figures
        self.model.load_state_dict(self._best_weights)

    def snapshot(self) -> dict[str, Any]:
        """Return a copy, on the same device, of all that the next epoch depends on; training on leaves it as it is.

        Between two epochs only. It consists of tensors and plain values, in a form that `torch.load` reads with
        `weights_only`.
        """
        # the best weights are a copy that nothing changes, and never stored twice
        judged = self._best_weights if self.history[-1].is_best else _copy(self._judged.state_dict())
        return {
            "weights": judged if self._average is None else _copy(self.model.state_dict()),
            "average": None if self._average is None else judged,
            "best_weights": self._best_weights,
            "optimiser": deepcopy(self._optimiser.state_dict()),
            "schedule": deepcopy(self._schedule.state_dict()),
            "scaler": self._scaler.state_dict(),
            "random": torch.get_rng_state(),
            "cuda_random": torch.cuda.get_rng_state(self._plan.device) if self._plan.device.type == "cuda" else None,
            "history": [asdict(figures) for figures in self.history],
            "batch_size": self._plan.batch_size,
        }

    def restore(self, snapshot: dict[str, Any]) -> None:
        """Set the training to a snapshot: the next epochs are those that would have followed it.

        Raises `IntegrityError`, and changes nothing, where the snapshot is another training's.
        """
        _require_own(snapshot, self._plan.batch_size)
        self.model.load_state_dict(snapshot["weights"])
        if self._average is not None:
            self._average.model.load_state_dict(snapshot["average"])
        self._best_weights = snapshot["best_weights"]
        self._optimiser.load_state_dict(_fuse_as(self._optimiser, snapshot["optimiser"]))
        self._schedule.load_state_dict(snapshot["schedule"])
        # a scaler that was switched off, on a CPU or with bfloat16, has no state
        if snapshot["scaler"]:
            self._scaler.load_state_dict(snapshot["scaler"])
        if self._plan.device.type == "cuda" and snapshot["cuda_random"] is not None:
            torch.cuda.set_rng_state(snapshot["cuda_random"], self._plan.device)
        self.history = [EpochFigures(**figures) for figures in snapshot["history"]]
        torch.set_rng_state(snapshot["random"])

    @property
    def _judged(self) -> nn.Module:
        return self.model if self._average is None else self._average.model

    def _run_epoch(self, on_step: Callable[[], None]) -> EpochFigures:
        started = time.monotonic()
        train_loss = torch.zeros((), device=self._plan.device)
        size = choose_size(self.epoch + 1, self._recipe.epochs, self._dataset.input_size, self._recipe.first_size)
        shuffled = torch.randperm(len(self._labels), device=self._plan.device)
        for chosen in torch.split(shuffled[: self._steps * self._plan.batch_size], self._plan.batch_size):
            train_loss += self._step(chosen, size) / self._steps
            on_step()
        judged = self._judge()
        return sum_up_epoch(self.history, train_loss.item(), judged, time.monotonic() - started)

    def _step(self, chosen: Tensor, size: tuple[int, int]) -> Tensor:
        """Take one step on the images of these numbers, and return the loss, for which nobody has waited."""
        precision = self._plan.precision
        pixels = prepare(self._images[chosen], size, precision, augmented=self._dataset.augmented)
        self.model.train()
        with autocast(self._plan.device, precision):
            loss = functional.cross_entropy(
                self._network(pixels), self._labels[chosen], label_smoothing=self._recipe.label_smoothing
            )
        self._optimiser.zero_grad(set_to_none=True)
        self._scaler.scale(loss).backward()  # type: ignore[no-untyped-call]
        self._scaler.step(self._optimiser)
        self._scaler.update()
        self._schedule.step()
        if self._average is not None:
            self._average.follow()
        return loss.detach()

    def _judge(self) -> Judgement:
        split = self._dataset.validation
        if self._plan.precision == FULL:
            return evaluate(self._judged, split, len(self._dataset.classes), self._plan.device)
        images = split.images if self._validation is None else self._validation
        logits = compute_logits(self._judged, images, self._plan.device, self._plan.precision)
        return judge(logits, split.labels, len(self._dataset.classes))

    def _judge_best_again(self) -> Judgement:
        """Return the best epoch's figures in full precision; the weights of the last one stay where they are."""
        best = deepcopy(self._judged)
        best.load_state_dict(self._best_weights)
        return evaluate(best, self._dataset.validation, len(self._dataset.classes), self._plan.device)


def _copy(weights: Mapping[str, Tensor]) -> dict[str, Tensor]:
    return {name: value.detach().clone() for name, value in weights.items()}


def _make_resident(split: ImageSplit, device: torch.device) -> tuple[Tensor, Tensor]:
    # Imagenette decoded at 256 pixels is 1.9 GB: memory holds it, and no loader stands between disk and step.
    images = split.images if split.images.flags.writeable else split.images.copy()
    return torch.from_numpy(images).to(device), torch.from_numpy(split.labels).to(device)


def _require_own(snapshot: dict[str, Any], batch_size: int) -> None:
    if (found := snapshot.get("batch_size")) is None:
        raise IntegrityError("the checkpoint is of an earlier slipway, which trained otherwise; expected one of this")
    if found != batch_size:
        raise IntegrityError(f"the checkpoint is of a training in batches of {found}; expected batches of {batch_size}")


def _fuse_as(optimiser: torch.optim.Optimizer, state: dict[str, Any]) -> dict[str, Any]:
    """Return an optimiser's state to be gone on with here, where one kernel may change all weights, or none may."""
    groups = zip(state["param_groups"], optimiser.param_groups, strict=True)
    return {**state, "param_groups": [{**saved, "fused": own.get("fused")} for saved, own in groups]}
