"""What a training can use of the machine it runs on: plain facts, from which the rest is decided."""

import math
import os
import shutil
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

import torch

# What a container may use of the cores, "400000 100000" are four: of control groups of version 2, and of version 1.
_CPU_QUOTA = Path("/sys/fs/cgroup/cpu.max")
_CPU_QUOTA_AND_PERIOD = (Path("/sys/fs/cgroup/cpu/cpu.cfs_quota_us"), Path("/sys/fs/cgroup/cpu/cpu.cfs_period_us"))


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


def count_cores() -> int:
    """Return how many cores this process may use: those of the machine, or a container's share of them."""
    return limit_cores(len(os.sched_getaffinity(0)), _read_quota())


def limit_cores(cores: int, quota: str) -> int:
    """Return how many of the cores a control group's quota leaves, at least one.

    `quota` is `max`, or -1 as version 1 writes it, or microseconds in a period, both in microseconds.
    """
    allowed, *period = quota.split() or ["max"]
    if allowed in ("max", "-1"):
        return cores
    return max(1, min(cores, math.ceil(int(allowed) / int(period[0]))))


def _read_quota() -> str:
    with suppress(OSError):
        return _CPU_QUOTA.read_text()
    with suppress(OSError):
        return " ".join(path.read_text() for path in _CPU_QUOTA_AND_PERIOD)
    return "max"
