"""How fast the machine of a benchmark is, beside the one that limits in seconds are of (docs/performance.md)."""

import statistics
import subprocess
import sys
import time

from infra.local.settings import ROOT

IMPORTS = "import prefect, prefect_aws.s3, mlflow"
"""What a new process imports before it can do anything."""

RUNS = 3
REFERENCE_S = 2.5  # where a step from a shell, which takes as long as they do, took 2.2 to 2.6 s


def measure_pace() -> float:
    """Return how many times longer this machine takes for those imports, files in memory; 1 where it is as fast."""
    time_imports()
    return max(1.0, statistics.median(time_imports() for _ in range(RUNS)) / REFERENCE_S)


def time_imports() -> float:
    """Return the seconds that a new process takes to import them."""
    start = time.perf_counter()
    subprocess.run([sys.executable, "-c", IMPORTS], cwd=ROOT, capture_output=True, check=True, timeout=120)
    return time.perf_counter() - start
