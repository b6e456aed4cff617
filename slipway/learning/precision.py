"""The numbers that a training computes with: full ones on a CPU, halves on a GPU, and which halves."""

from collections.abc import Iterator
from contextlib import contextmanager

import torch

FULL = torch.float32


def choose_precision(device: str, has_bfloat16: bool) -> torch.dtype:
    """Return what activations are computed in: bfloat16 on a GPU; float16 on one that would only emulate that."""
    if device != "cuda":
        return FULL
    return torch.bfloat16 if has_bfloat16 else torch.float16


def autocast(device: torch.device, precision: torch.dtype) -> torch.autocast:
    """Return a context in which a model's costly operations compute in `precision`; its weights stay float32."""
    return torch.autocast(device.type, dtype=precision, enabled=precision != FULL)


def make_scaler(device: torch.device, precision: torch.dtype) -> torch.amp.GradScaler:
    """Return what keeps gradients within float16's range; it does nothing where the range is float32's."""
    return torch.amp.GradScaler(device.type, enabled=precision == torch.float16)


@contextmanager
def forcing_full_precision() -> Iterator[None]:
    """Have no GPU compute in TF32, which alone moves an output by a thousandth; the settings are put back."""
    with setting_tf32(allowed=False):
        yield


@contextmanager
def setting_tf32(*, allowed: bool) -> Iterator[None]:
    """Allow or forbid TF32 for what is float32 inside, and put the process' settings back."""
    before = torch.backends.cuda.matmul.allow_tf32, torch.backends.cudnn.allow_tf32
    torch.backends.cuda.matmul.allow_tf32 = torch.backends.cudnn.allow_tf32 = allowed
    try:
        yield
    finally:
        torch.backends.cuda.matmul.allow_tf32, torch.backends.cudnn.allow_tf32 = before
