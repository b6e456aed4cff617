"""The plan of a training: its recipe, and how this machine carries it out. Every decision is a plain function."""

from dataclasses import dataclass

import torch

from blocks.errors import InvalidInput
from slipway.learning.machine import Machine
from slipway.learning.parameters import Compile, TrainingSettings
from slipway.learning.precision import FULL, choose_precision
from slipway.learning.recipes import Recipe, follow_recipe

SMALLEST_BATCH, LARGEST_BATCH = 64, 512
STEPS_IN_AN_EPOCH = 32  # as few as a larger batch may leave: fewer, and a short training takes too few steps to learn
# Measured on an H200 (160 and 224 pixels, batches up to 512): 8 GiB at most, the decoded images included.
BYTES_PER_PIXEL = 336  # of an image in a batch, forward and backward in halves
# Measured at 160 pixels: compiled 28,344 images/s, otherwise 20,675, and compiling takes tens of seconds. A minute is
# won back after 5 million images.
COMPILING_PAYS_FROM = 5_000_000
_MEASURED_PIXELS = 160 * 160
CPU = torch.device("cpu")


@dataclass(frozen=True)
class Plan:
    """A training with nothing left to decide."""

    recipe: Recipe
    batch_size: int = SMALLEST_BATCH
    device: torch.device = CPU
    precision: torch.dtype = FULL
    compiled: bool = False


def make_plan(settings: TrainingSettings, images: int, machine: Machine, batch_size_before: int | None = None) -> Plan:
    """Return how a training on so many images is carried out here.

    `batch_size_before` is that of an earlier attempt, perhaps on another card: where none is asked for, it stays.
    Raises `InvalidInput` where something is asked for that the machine cannot do.
    """
    recipe = follow_recipe(settings)
    chosen = settings.batch_size or batch_size_before or choose_batch_size(machine, recipe.size, images)
    return Plan(
        recipe=recipe,
        batch_size=chosen,
        device=torch.device(machine.device),
        precision=choose_precision(machine.device, machine.has_bfloat16),
        compiled=decide_to_compile(settings.compile, machine, recipe, images),
    )


def choose_batch_size(machine: Machine, size: tuple[int, int], images: int) -> int:
    """Return how many images a step takes: 64 without a GPU, else a power of two from 64 to 512.

    It is the largest that fits into half of the card's memory and leaves 32 steps in an epoch; 64 in any case.
    """
    if machine.device != "cuda":
        return SMALLEST_BATCH
    fitting = machine.memory_bytes // 2 // (BYTES_PER_PIXEL * size[0] * size[1])
    most = min(fitting, images // STEPS_IN_AN_EPOCH, LARGEST_BATCH)
    return max(SMALLEST_BATCH, 1 << max(0, most.bit_length() - 1))


def decide_to_compile(asked: Compile, machine: Machine, recipe: Recipe, images: int) -> bool:
    """Tell whether the network is compiled; `InvalidInput` where that is asked for and there is no C compiler."""
    if asked == "always" and not machine.has_compiler:
        raise InvalidInput("compile 'always': no C compiler is found; expected cc, gcc, clang or what CC names")
    if asked != "auto":
        return asked == "always"
    seen = recipe.epochs * images * recipe.size[0] * recipe.size[1] // _MEASURED_PIXELS
    return machine.device == "cuda" and machine.has_compiler and seen >= COMPILING_PAYS_FROM
