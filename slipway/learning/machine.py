"""What a training can use of the machine it runs on: plain facts, from which the rest is decided."""

import os
import shutil
from dataclasses import dataclass

import torch

from blocks.cores import count_cores


@dataclass(frozen=True)
class Machine:
    """A device for PyTorch and what decides how it is used; without a GPU there is no more to know."""

    device: str = "cpu"  # or cuda
    name: str = "cpu"
    memory_bytes: int = 0
    has_bfloat16: bool = False
    has_compiler: bool = False


def look_at_machine() -> Machine:
    """Return what this process can compute on."""
    # what torch.compile makes are C and C++ sources, on a GPU too, and what they are built with
    compiler = any(shutil.which(name) for name in (os.environ.get("CC") or "cc", "gcc", "clang"))
    if not torch.cuda.is_available():
        return Machine(has_compiler=compiler)
    return Machine(
        device="cuda",
        name=torch.cuda.get_device_name(),
        memory_bytes=torch.cuda.get_device_properties().total_memory,
        # one that only emulates it, as a T4 does, says yes by default
        has_bfloat16=torch.cuda.is_bf16_supported(including_emulation=False),
        has_compiler=compiler,
    )


def keep_to_share() -> None:
    """Have PyTorch, and what takes its number, compute in no more threads than this process may use of the cores.

    It begins one for each core that it sees. In a container these may be many more than its quota, which all of them
    use up in a moment: then each waits for the next period.
    """
    torch.set_num_threads(min(torch.get_num_threads(), count_cores()))
