"""Fifty aliases set at once: how long until each model is live, with Prefect on SQLite and on PostgreSQL.

Each database has a stack of its own, new, one after the other; CI sets a few, on the stack that it has. No update is
lost and none is released twice, and no more runs are executed at once than the worker has places. What Prefect's
triggers did not see, being resumed right before, the poll tells after a minute.
"""

import time
from collections import Counter
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import NamedTuple

import psutil
import pytest
from prefect.client.orchestration import get_client
from prefect.client.schemas.filters import FlowFilter, FlowFilterName
from prefect.client.schemas.objects import FlowRun
from prefect.client.schemas.sorting import FlowRunSort
from rich.console import Console
from rich.table import Table

from blocks.environment import load_environment
from blocks.registry import ModelRegistry
from flows.alias_poll import poll_aliases
from infra.local import stack as local
from infra.local.settings import LocalStack
from infra.local.supervision import list_programs
from tests.apparatus.aliases import forget_missed_updates
from tests.apparatus.automations import automations_resumed, pause_automations, pause_schedules
from tests.apparatus.models import register_linear
from tests.apparatus.postgres import find_postgres, postgres
from tests.benchmarks.size import Size
from tests.conftest import pointed_at, stack_on_free_ports

UPDATES, FEW = 50, 2
DEADLINE_S = 1500.0
POLLED_AFTER_S = 60.0
LOOKS_EVERY_S = 1.0
pytestmark = [
    pytest.mark.benchmark,
    pytest.mark.exhaustive,
]  # tests/flows/test_many_updates.py has as many releases wait for places


class Burst(NamedTuple):
    """What became of the updates that were made at once."""

    first_s: float  # until the first model was live
    all_s: float
    most_at_once: int  # runs
    told_by_poll: int
    prefect_cpu_s: float  # the server's, without its database's
    database_cpu_s: float


@pytest.mark.timeout(4000)
def test_fifty_updates_at_once_are_each_released_once_on_either_database(
    stack: LocalStack, tmp_path: Path, size: Size
) -> None:
    bursts = measure_databases(tmp_path, UPDATES) if size.full else {"SQLite": measure(stack, FEW)}
    show(bursts, size.choose(UPDATES, FEW))


def measure_databases(directory: Path, count: int) -> dict[str, Burst]:
    """Return what becomes of so many updates with Prefect on SQLite, and on PostgreSQL where it is installed."""
    with started(stack_on_free_ports(directory / "sqlite")) as stack:
        bursts = {"SQLite": measure(stack, count)}
    if (programs := find_postgres()) is None:
        Console(width=100).print("no PostgreSQL is installed here (Debian: apt-get install postgresql)")
        return bursts
    with (
        postgres(programs) as url,
        started(stack_on_free_ports(directory / "postgres", prefect_database=url)) as stack,
    ):
        return bursts | {"PostgreSQL": measure(stack, count)}


def show(bursts: dict[str, Burst], count: int) -> None:
    """Print the table."""
    table = Table("", *bursts, title=f"{count} aliases set at once, seconds")
    table.add_row("first model live", *(f"{burst.first_s:.1f}" for burst in bursts.values()))
    table.add_row("all live", *(f"{burst.all_s:.1f}" for burst in bursts.values()))
    table.add_row("an update", *(f"{burst.all_s / count:.2f}" for burst in bursts.values()))
    table.add_row("runs at once, at most", *(f"{burst.most_at_once}" for burst in bursts.values()))
    table.add_row("told by the poll", *(f"{burst.told_by_poll}" for burst in bursts.values()))
    table.add_row("CPU of Prefect's server", *(f"{burst.prefect_cpu_s:.1f}" for burst in bursts.values()))
    table.add_row("CPU of its database", *(f"{burst.database_cpu_s:.1f}" for burst in bursts.values()))
    Console(width=100).print("\n", table)


@contextmanager
def started(stack: LocalStack) -> Iterator[LocalStack]:
    """Have a stack run, and this process speak to it, while the block runs."""
    with ExitStack() as cleanup:
        cleanup.callback(local.down, stack)
        local.up(stack, lambda line: None)
        cleanup.enter_context(pointed_at(stack))
        pause_automations()
        pause_schedules()
        yield stack


def measure(stack: LocalStack, count: int) -> Burst:
    """Set `deploy` on the first version of so many models at once."""
    registry = load_environment().registry
    forget_missed_updates(registry)
    names = [f"bench-update-{number}-onnx" for number in range(count)]
    for seed, name in enumerate(names):
        register_linear(registry, name, seed)
        registry.remove_alias(name, "deploy")
    with automations_resumed():
        burst = set_at_once(registry, names, stack)
    released = [run.parameters["model_name"] for run in read_releases(names) if run.state_name == "Completed"]
    assert Counter(released) == Counter(names)
    return burst


def set_at_once(registry: ModelRegistry, names: list[str], stack: LocalStack) -> Burst:
    """Set the alias of every model and wait until each is live."""
    server, others = psutil.Process(list_programs(stack)["prefect"].pid), find_backends()
    used = count_cpu_seconds(server), sum(others.values())
    start, first_s, most, told = time.monotonic(), 0.0, 0, None
    with ThreadPoolExecutor(8) as pool:
        list(pool.map(lambda name: registry.set_alias(name, "deploy", 1), names))
    while True:
        live = [name for name in names if registry.get_aliases(name).get("live") == 1]
        most = max(most, sum(run.state_name == "Running" for run in read_releases(names)))
        passed = time.monotonic() - start
        first_s = first_s or (passed if live else 0.0)
        if len(live) == len(names):
            break
        if told is None and passed > POLLED_AFTER_S:
            told = len([update for update in poll_aliases() if update.model_name in names])
        assert passed < DEADLINE_S, f"not live: {sorted(set(names) - set(live))}"
        time.sleep(LOOKS_EVERY_S)
    await_end(names)
    assert most <= stack.worker_limit
    return Burst(
        first_s=first_s,
        all_s=passed,
        most_at_once=most,
        told_by_poll=told or 0,
        prefect_cpu_s=count_cpu_seconds(server) - used[0],
        database_cpu_s=sum(find_backends().values()) - used[1],
    )


def await_end(names: list[str]) -> None:
    """Wait until every release has ended."""
    end = time.monotonic() + DEADLINE_S
    while not all(run.state is not None and run.state.is_final() for run in read_releases(names)):
        assert time.monotonic() < end, [(run.name, run.state_name) for run in read_releases(names)]
        time.sleep(LOOKS_EVERY_S)


def read_releases(names: list[str]) -> list[FlowRun]:
    """Return the newest runs that release one of these models."""
    deploying, newest = FlowFilter(name=FlowFilterName(any_=["deploy-model"])), FlowRunSort.EXPECTED_START_TIME_DESC
    with get_client(sync_client=True) as client:
        runs = client.read_flow_runs(flow_filter=deploying, sort=newest, limit=200)
    return [run for run in runs if run.parameters.get("model_name") in names]


def find_backends() -> dict[int, float]:
    """Return the processes of PostgreSQL servers, each with the seconds of CPU it used."""
    found = (process for process in psutil.process_iter() if process.name() == "postgres")
    return {process.pid: count_cpu_seconds(process) for process in found}


def count_cpu_seconds(process: psutil.Process) -> float:
    times = process.cpu_times()
    return times.user + times.system
