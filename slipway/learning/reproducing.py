"""Reproducing a training: the same seed, on the same card, comes to the same weights."""

import os
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import torch

from slipway.learning.precision import setting_tf32

_CUBLAS = "CUBLAS_WORKSPACE_CONFIG"
_MEMORY: Any = torch.utils.deterministic  # a module whose one attribute has no type


@contextmanager
def seeded(seed: int, *, deterministic: bool = True) -> Iterator[None]:
    """Make what is drawn inside depend on `seed` alone, and what is computed too unless `deterministic` is off.

    TF32 is allowed inside; without determinism cuDNN tries which of its kernels is fastest. The settings of the
    process, its random numbers included, are afterwards what they were.
    """
    with torch.random.fork_rng(), setting_tf32(allowed=True), _choosing_kernels(deterministic):
        torch.manual_seed(seed)
        yield


@contextmanager
def _choosing_kernels(deterministic: bool) -> Iterator[None]:
    before = torch.are_deterministic_algorithms_enabled(), torch.is_deterministic_algorithms_warn_only_enabled()
    benchmark, workspace = torch.backends.cudnn.benchmark, os.environ.get(_CUBLAS)
    filled = _MEMORY.fill_uninitialized_memory
    # Only warned about: a GPU kernel without a deterministic variant is no reason not to train.
    torch.use_deterministic_algorithms(deterministic, warn_only=True)
    torch.backends.cudnn.benchmark = not deterministic
    # nothing here reads what it has not written, and each output would be written twice
    _MEMORY.fill_uninitialized_memory = False
    if deterministic and workspace is None:
        os.environ[_CUBLAS] = ":4096:8"  # what cuBLAS asks for before it promises the same result twice
    try:
        yield
    finally:
        torch.use_deterministic_algorithms(before[0], warn_only=before[1])
        torch.backends.cudnn.benchmark = benchmark
        _MEMORY.fill_uninitialized_memory = filled
        if workspace is None:
            os.environ.pop(_CUBLAS, None)
