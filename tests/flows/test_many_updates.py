"""Many aliases set at once, and nobody there to release: each waits as one run, none is lost and none waits twice.

What a busy machine's webhooks do not tell, the poll does, as it does of everybody's.
"""

import time
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager

import pytest
from prefect.client.orchestration import get_client
from prefect.client.schemas.objects import FlowRun

from blocks.environment import Environment
from flows.alias_poll import poll_aliases
from infra.local.settings import LocalStack
from infra.local.supervision import start_programs, stop_program
from tests.apparatus.aliases import forget_missed_updates, set_in_a_burst, versions_without_files
from tests.apparatus.automations import automations_resumed
from tests.apparatus.thinning import keep
from tests.conftest import Measured
from tests.flows.test_alias_updates import newest_runs

WEBHOOKS_S, QUEUED_S = 60.0, 240.0


@contextmanager
def worker_stopped(stack: LocalStack) -> Iterator[None]:
    stop_program(stack, "worker")
    try:
        yield
    finally:
        start_programs(stack, ["worker"])


@contextmanager
def runs_removed(names: list[str]) -> Iterator[None]:
    """Leave the worker nothing to do afterwards."""
    try:
        yield
    finally:
        with get_client(sync_client=True) as client:
            for run in list_waiting(names):
                client.delete_flow_run(run.id)


def list_waiting(names: list[str]) -> list[FlowRun]:
    return [run for run in newest_runs() if run.parameters.get("model_name") in names]


def await_queued(names: list[str], within_s: float) -> bool:
    """Wait until each model has a run; tell whether that came in time."""
    end = time.monotonic() + within_s
    while {run.parameters["model_name"] for run in list_waiting(names)} != set(names):
        if time.monotonic() > end:
            return False
        time.sleep(0.5)
    return True


@pytest.mark.faults
@pytest.mark.timeout(900)
@pytest.mark.parametrize("count", keep({"10 updates": 10, "50 updates": 50}, {"10 updates"}))
def test_updates_at_once_wait_as_one_run_each_and_none_is_lost(
    stack: LocalStack, environment: Environment, model_name: str, measured: Measured, count: int
) -> None:
    registry = environment.registry
    forget_missed_updates(registry)
    with (
        versions_without_files(registry, model_name.removesuffix("-onnx"), count) as names,
        worker_stopped(stack),
        runs_removed(names),
        automations_resumed(),
    ):
        start = time.monotonic()
        set_in_a_burst(registry, names, meanwhile=lambda: None)
        told_by_webhooks = await_queued(names, WEBHOOKS_S)
        told = [update.model_name for update in poll_aliases() if update.model_name in names]
        assert await_queued(names, QUEUED_S)
        taken_s = time.monotonic() - start
        waiting = list_waiting(names)

    measured(f"{count} aliases set at once: each queued as a run after {taken_s:.1f} s, {len(told)} told by the poll")
    assert not (told_by_webhooks and told)
    runs = Counter(run.parameters["model_name"] for run in waiting)
    assert all(runs[name] == 1 or (runs[name] == 2 and name in told) for name in names)
    assert all(run.state is not None and not run.state.is_final() for run in waiting)
