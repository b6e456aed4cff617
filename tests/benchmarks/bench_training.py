"""Images a second of an epoch of training, its evaluation included, beside those of the bare network.

The floor is what no loop undercuts: forward and backward and nothing else, on one prepared batch, in the precision and
batches of the training. It is measured after each epoch, and the median of the ratios counts, since others may use the
same cores.
"""

import statistics
import time
from typing import NamedTuple

import numpy as np
import pytest
import torch
from rich.console import Console
from rich.table import Table
from torch.nn import functional

from slipway.learning.augmentation import prepare
from slipway.learning.datasets import ImageDataset, ImageSplit
from slipway.learning.fitting import Fitting
from slipway.learning.machine import Machine, look_at_machine
from slipway.learning.optimisation import count_steps
from slipway.learning.parameters import Compile, TrainingSettings
from slipway.learning.planning import Plan, make_plan
from slipway.learning.precision import FULL, autocast
from slipway.learning.reproducing import seeded
from slipway.learning.resnet import ResNet18
from tests.benchmarks.size import Size

CLASSES, WARM_UP = 10, 1
GOALS: dict[Compile, float] = {"never": 20_000, "always": 28_000}  # images/s on a GPU, an H100 or H200
SHARE_OF_THE_FLOOR = 0.6  # on a CPU; judging alone costs a seventh of an epoch
# tests/slipway/learning trains and judges in every way
pytestmark = [pytest.mark.benchmark, pytest.mark.exhaustive]


class Amount(NamedTuple):
    """How many images there are, how large, and how many epochs are trained, the first one to warm up."""

    train: int
    validation: int
    side: int
    epochs: int


SMALL, ON_A_CPU, IMAGENETTE = Amount(128, 32, 32, 2), Amount(1280, 512, 64, 4), Amount(9469, 3925, 160, 4)


class Speed(NamedTuple):
    """Images a second of an epoch and of the floor beside it, and how well the network does by then."""

    epoch: float
    floor: float
    accuracy: float


@pytest.mark.timeout(1800)
def test_an_epoch_with_its_evaluation_is_nearly_as_fast_as_the_network_alone(size: Size) -> None:
    machine = look_at_machine()
    amount = size.choose(IMAGENETTE if machine.device == "cuda" else ON_A_CPU, SMALL)
    images, missed = make_images(amount), list[str]()
    title = f"{machine.name}, {amount.train} + {amount.validation} images of {amount.side} px"
    table = Table("precision", "batch", "images/s", "floor", "ratio", "goal", "accuracy", title=title)

    for compiling in choose_ways(machine, size):
        plan = make_plan(make_settings(amount, compiling), amount.train, machine)
        speeds = measure(images, plan)
        epoch, floor = (statistics.median(found) for found in ([s.epoch for s in speeds], [s.floor for s in speeds]))
        ratio = statistics.median(speed.epoch / speed.floor for speed in speeds)
        goal = GOALS[compiling] if machine.device == "cuda" else SHARE_OF_THE_FLOOR * epoch / ratio
        precision = str(plan.precision).removeprefix("torch.") + (", compiled" if plan.compiled else "")
        figures = (f"{epoch:,.0f}", f"{floor:,.0f}", f"{ratio:.2f}", f"{goal:,.0f}")
        table.add_row(precision, f"{plan.batch_size}", *figures, f"{speeds[-1].accuracy:.2f}")
        missed += [precision] if epoch < size.least(goal) else []

    Console(width=100).print("\n", table)
    assert not missed


def choose_ways(machine: Machine, size: Size) -> tuple[Compile, ...]:
    """Return whether the network is compiled, too: what that wins is only known of a GPU, and it takes its time."""
    return ("never", "always") if size.full and machine.device == "cuda" and machine.has_compiler else ("never",)


def make_settings(amount: Amount, compiling: Compile) -> TrainingSettings:
    return TrainingSettings.check(
        model_name="bench-training",
        dataset="imagenette",
        epochs=amount.epochs,
        input_shape=[1, 3, amount.side, amount.side],
        seed=0,
        compile=compiling,
    )


def make_images(amount: Amount) -> ImageDataset:
    """Return images made of one pattern a class and of noise, with as much room for crops as decoded ones have."""
    canvas, patterns = round(amount.side * 8 / 7), np.random.default_rng(99).random((CLASSES, 3, 12, 12))
    train = make_split(amount.train, canvas, patterns, seed=1)
    validation = make_split(amount.validation, amount.side, patterns, seed=2)
    classes = tuple(str(number) for number in range(CLASSES))
    return ImageDataset("patterns", "", classes, train, validation, (amount.side, amount.side), augmented=True)


def make_split(count: int, side: int, patterns: np.ndarray, seed: int) -> ImageSplit:
    labels = np.arange(count, dtype=np.int64) % CLASSES
    enlarged = functional.interpolate(torch.from_numpy(patterns * 90), (side, side), mode="bilinear").byte().numpy()
    images = np.random.default_rng(seed).integers(0, 165, (count, 3, side, side), dtype=np.uint8)
    images += enlarged[labels]
    return ImageSplit(images, labels)


def measure(images: ImageDataset, plan: Plan) -> list[Speed]:
    """Return the speed of each epoch of a training, the first ones left out, and that of the network alone after it."""
    seen = count_steps(len(images.train), plan.batch_size) * plan.batch_size
    floor, speeds = Floor(images, plan), list[Speed]()
    with seeded(0):
        for figures in Fitting(ResNet18(CLASSES), images, plan).train_epochs():
            speeds.append(Speed(seen / figures.epoch_time_s, floor.measure(), figures.best_val_accuracy))
    return speeds[WARM_UP:]


class Floor:
    """Forward and backward passes over one batch that lies prepared on the device."""

    def __init__(self, images: ImageDataset, plan: Plan) -> None:
        self._plan, self._model = plan, ResNet18(CLASSES).to(plan.device)
        if plan.precision != FULL:
            self._model.to(memory_format=torch.channels_last)
        self._network = torch.compile(self._model, dynamic=False) if plan.compiled else self._model
        batch = torch.from_numpy(images.train.images[: plan.batch_size]).to(plan.device)
        self._pixels = prepare(batch, images.input_size, plan.precision, augmented=True)
        self._labels = torch.from_numpy(images.train.labels[: plan.batch_size]).to(plan.device)
        self._steps = count_steps(len(images.train), plan.batch_size)

    def measure(self) -> float:
        """Return the images a second of as many passes as an epoch has."""
        self._pass()
        started = read_clock(self._plan)
        for _ in range(self._steps):
            self._pass()
        return self._steps * len(self._labels) / (read_clock(self._plan) - started)

    def _pass(self) -> None:
        with autocast(self._plan.device, self._plan.precision):
            loss = functional.cross_entropy(self._network(self._pixels), self._labels)
        loss.backward()  # type: ignore[no-untyped-call]
        self._model.zero_grad(set_to_none=True)


def read_clock(plan: Plan) -> float:
    """Return the time once the device has done what it was asked for."""
    if plan.device.type == "cuda":
        torch.cuda.synchronize()
    return time.perf_counter()
