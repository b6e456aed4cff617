"""What a training changes of its process, and puts back."""

import os
from typing import Any

import torch

from slipway.learning.precision import forcing_full_precision
from slipway.learning.reproducing import seeded

MEMORY: Any = torch.utils.deterministic


def state() -> tuple[object, ...]:
    return (
        torch.are_deterministic_algorithms_enabled(),
        torch.is_deterministic_algorithms_warn_only_enabled(),
        MEMORY.fill_uninitialized_memory,
        torch.backends.cudnn.benchmark,
        torch.backends.cudnn.allow_tf32,
        torch.backends.cuda.matmul.allow_tf32,
        os.environ.get("CUBLAS_WORKSPACE_CONFIG"),
    )


def test_training_leaves_the_process_random_state_and_settings_alone() -> None:
    torch.manual_seed(1)
    expected, before = torch.rand(3), state()
    torch.manual_seed(1)

    for deterministic in (True, False):
        with seeded(99, deterministic=deterministic):
            torch.rand(5)
            assert state() != before

    assert torch.equal(torch.rand(3), expected)
    assert state() == before


def test_kernels_are_deterministic_unless_that_is_switched_off_and_then_the_fastest_are_looked_for() -> None:
    with seeded(0):
        assert torch.are_deterministic_algorithms_enabled() and not torch.backends.cudnn.benchmark
    with seeded(0, deterministic=False):
        assert not torch.are_deterministic_algorithms_enabled() and torch.backends.cudnn.benchmark


def test_tf32_is_allowed_while_training_and_off_where_full_precision_is_asked_for() -> None:
    with seeded(0):
        assert torch.backends.cuda.matmul.allow_tf32 and torch.backends.cudnn.allow_tf32
        with forcing_full_precision():
            assert not (torch.backends.cuda.matmul.allow_tf32 or torch.backends.cudnn.allow_tf32)
        assert torch.backends.cuda.matmul.allow_tf32
