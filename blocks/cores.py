"""The cores that this process may use: those of its machine, or its container's share of them."""

import math
import os
from contextlib import suppress
from pathlib import Path

# What a container may use of the cores, "400000 100000" are four: of control groups of version 2, and of version 1.
_CPU_QUOTA = Path("/sys/fs/cgroup/cpu.max")
_CPU_QUOTA_AND_PERIOD = (Path("/sys/fs/cgroup/cpu/cpu.cfs_quota_us"), Path("/sys/fs/cgroup/cpu/cpu.cfs_period_us"))


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
