"""How a training is carried out on a machine: decided from plain facts."""

from typing import Any

import pytest
import torch

from blocks.errors import InvalidInput
from slipway.learning.machine import Machine
from slipway.learning.parameters import Compile, TrainingSettings
from slipway.learning.planning import Plan, choose_batch_size, make_plan
from slipway.learning.precision import choose_precision

GIB = 1024**3
IMAGENETTE = 9469
H200 = Machine(device="cuda", name="H200", memory_bytes=140 * GIB, has_bfloat16=True, has_compiler=True)
T4 = Machine(device="cuda", name="T4", memory_bytes=15 * GIB, has_compiler=True)


def plan(machine: Machine, images: int = IMAGENETTE, before: int | None = None, **said: Any) -> Plan:
    values = {"model_name": "m", "dataset": "digits", "seed": 0, "input_shape": [1, 3, 160, 160]}
    return make_plan(TrainingSettings.check(**values | said), images, machine, before)


def test_a_cpu_computes_as_it_always_did() -> None:
    found = plan(Machine())

    assert (found.batch_size, found.precision, found.compiled) == (64, torch.float32, False)
    assert found.device == torch.device("cpu")


@pytest.mark.parametrize(
    ("machine", "precision"), [(H200, torch.bfloat16), (T4, torch.float16), (Machine(), torch.float32)]
)
def test_a_gpu_computes_in_halves_in_bfloat16_where_it_has_that(machine: Machine, precision: torch.dtype) -> None:
    assert choose_precision(machine.device, machine.has_bfloat16) == precision
    assert plan(machine).precision == precision


@pytest.mark.parametrize(
    ("machine", "size", "images", "batch_size"),
    [
        (H200, (160, 160), IMAGENETTE, 256),
        (H200, (224, 224), IMAGENETTE, 256),
        (H200, (224, 224), 1_281_167, 512),
        (H200, (32, 32), 1437, 64),
        (H200, (32, 32), 10, 64),
        (T4, (224, 224), 1_281_167, 256),
        (Machine(device="cuda", memory_bytes=2 * GIB), (224, 224), IMAGENETTE, 64),
        (Machine(), (224, 224), 1_281_167, 64),
    ],
    ids=str,
)
def test_a_batch_is_as_large_as_half_of_the_cards_memory_holds_and_an_epochs_32_steps_leave(
    machine: Machine, size: tuple[int, int], images: int, batch_size: int
) -> None:
    assert choose_batch_size(machine, size, images) == batch_size


def test_a_batch_size_that_is_asked_for_goes_before_an_earlier_attempts_and_that_before_the_cards() -> None:
    assert plan(H200, batch_size=48, before=128).batch_size == 48
    assert plan(H200, before=128).batch_size == 128
    assert plan(H200).batch_size == 256


@pytest.mark.parametrize(
    ("machine", "compiling", "epochs", "images", "compiled"),
    [
        (H200, "auto", 80, IMAGENETTE, False),
        (H200, "auto", 4, 1_281_167, True),
        (H200, "auto", 528, IMAGENETTE, False),
        (H200, "auto", 529, IMAGENETTE, True),
        (Machine(device="cuda", memory_bytes=GIB), "auto", 4, 1_281_167, False),
        (Machine(has_compiler=True), "auto", 1000, 1_281_167, False),
        (Machine(has_compiler=True), "always", 1, 10, True),
        (H200, "never", 1000, 1_281_167, False),
    ],
)
def test_a_network_is_compiled_where_a_minute_is_won_back(
    machine: Machine, compiling: Compile, epochs: int, images: int, compiled: bool
) -> None:
    assert plan(machine, images, compile=compiling, epochs=epochs).compiled is compiled


def test_compiling_without_a_compiler_is_refused_in_words() -> None:
    with pytest.raises(InvalidInput, match="compile 'always': no C compiler is found; expected cc, gcc, clang"):
        plan(Machine(), compile="always")
