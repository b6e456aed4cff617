"""How long `slipway status` and `slipway reconcile`, with nothing to do, take for 1,000 models, and in how much memory.

Every model has had ten versions, all of them in MLflow, five in the archive. 200 models are served, on the replicas of
the stack and on simulated ones beside them, 16 in all; the others were taken out of service.
"""

import os
import subprocess
import sys
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from typing import NamedTuple

import psutil
import pytest
from rich.console import Console
from rich.table import Table

from blocks.environment import DOCUMENT, Environment
from blocks.fleet import TritonFleet
from infra.local.settings import ROOT, LocalStack
from tests.apparatus.answering_servers import SEED, answering_servers
from tests.apparatus.many_models import Kept, ManyModels, register_many
from tests.apparatus.models import register_linear
from tests.benchmarks.size import Size
from tests.conftest import free_ports

MODELS, SERVED, SIMULATED = 1000, 200, 14
KEPT = Kept(versions=10, archived=5)
GOAL_S, LIMIT_MB = 10.0, 500.0
# What a reconcile asks the simulated replicas, 3,000 answers, they compute on the command's own two cores.
LIMITS_S = {"status": GOAL_S, "reconcile": 25.0}
STUB_MB = 35  # what one more served model takes of a local replica, which computes each in a process
MB = 1024**2
# A process is said to have held what the one that forked it did, and pytest may hold gigabytes: this one holds little.
MEASURE = """
import resource, subprocess, sys
subprocess.run(sys.argv[1:])
used = resource.getrusage(resource.RUSAGE_CHILDREN)
print(used.ru_utime + used.ru_stime, used.ru_maxrss, file=sys.stderr)
"""
# tests/slipway/releases/test_survey.py and tests/flows/test_reconciliation.py survey and reconcile
pytestmark = [pytest.mark.benchmark, pytest.mark.exhaustive]


class Taken(NamedTuple):
    """What one command printed, and what it took."""

    output: str
    seconds: float
    cpu_s: float
    memory_mb: float


@pytest.mark.timeout(3600)
def test_1000_models_on_16_replicas_are_shown_in_10_seconds_and_reconciled_in_500_mb(
    stack: LocalStack, environment: Environment, size: Size
) -> None:
    names = [f"bench-scale-{number:04}-onnx" for number in range(size.choose(MODELS, 8))]
    served = names[: size.choose(SERVED, 3)]
    _leave_all(stack, environment, names, served)
    asked = size.choose([], names)  # all, but where other tests have left theirs

    with _fleet_of_both(environment, size.choose(SIMULATED, 2), served) as fleet:
        with ThreadPoolExecutor(8) as pool:
            list(pool.map(lambda at: _load(fleet, at, served), fleet.list_addresses()))
        taken = {name: _run(name, *asked) for name in ("status", "reconcile")}
        replicas = len(fleet.list_addresses())

    title = f"{len(names)} models, {len(served)} served on {replicas} replicas (goals {GOAL_S:g} s, {LIMIT_MB:g} MB)"
    table = Table("command", "seconds", "of them CPU", "memory, MB", title=title)
    for name, of_command in taken.items():
        figures = (of_command.seconds, of_command.cpu_s, of_command.memory_mb)
        table.add_row(name, *(f"{figure:.1f}" for figure in figures))
    Console(width=100).print("\n", table)
    lines = [line for line in taken["status"].output.splitlines() if line.startswith("bench-scale-")]
    assert sum(line.rstrip().endswith("none") for line in lines) == len(served)
    assert sum("withdrawn" in line for line in lines) == len(names) - len(served)
    assert "bench-scale-" not in taken["reconcile"].output
    assert all(of_command.seconds <= size.within(LIMITS_S[name]) for name, of_command in taken.items())
    assert max(of_command.memory_mb for of_command in taken.values()) <= size.most(LIMIT_MB)


def _leave_all(stack: LocalStack, environment: Environment, names: list[str], served: list[str]) -> None:
    template = register_linear(environment.registry, "bench-template-onnx", SEED)
    register_many(stack.state / "mlflow.db", template, KEPT.versions, {name: name in served for name in names})
    many = ManyModels(environment, template, KEPT)
    with ThreadPoolExecutor(8) as pool:
        list(pool.map(many.leave_served, served))
        list(pool.map(many.leave_withdrawn, names[len(served) :]))


@contextmanager
def _fleet_of_both(environment: Environment, simulated: int, served: list[str]) -> Iterator[TritonFleet]:
    """Have the blocks name simulated replicas beside those of the stack, which are left out where memory is short."""
    real, needed = environment.fleet.list_addresses(), len(served) * STUB_MB
    if (free := psutil.virtual_memory().available / MB) < 1.5 * needed * len(real):
        Console().print(f"{free:.0f} MB are free, {needed} needed a real replica: all replicas are simulated")
        simulated, real = simulated + len(real), []
    with answering_servers(free_ports(simulated), KEPT.versions) as addresses:
        both = environment.fleet.model_copy(update={"replicas": [*real, *addresses], "metrics": []})
        both.save(DOCUMENT, overwrite=True)
        try:
            yield both
        finally:
            environment.fleet.save(DOCUMENT, overwrite=True)


def _load(fleet: TritonFleet, address: str, names: list[str]) -> None:
    for name in names:
        fleet.load_model(address, name)


def _run(*arguments: str) -> Taken:
    start = time.perf_counter()
    command = [sys.executable, "-c", MEASURE, sys.executable, "-m", "infra", *arguments]
    variables = os.environ | {"COLUMNS": "400"}  # readline, which pytest imports, has set 80 for children
    ended = subprocess.run(command, cwd=ROOT, env=variables, capture_output=True, text=True, check=False)
    seconds = time.perf_counter() - start
    assert ended.stdout, ended.stderr
    cpu_s, memory_kb = map(float, ended.stderr.splitlines()[-1].split())
    return Taken(ended.stdout, seconds, cpu_s, memory_kb / 1024)
