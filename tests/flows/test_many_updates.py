"""Fifty aliases set at once, and nobody there to release: each waits as one run, none is lost and none waits twice."""

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
from tests.conftest import Measured
from tests.flows.test_alias_updates import newest_runs

UPDATES = 50
QUEUED_S = 120.0


@contextmanager
def worker_stopped(stack: LocalStack) -> Iterator[None]:
    stop_program(stack, "worker")
    try:
        yield
    finally:
        start_programs(stack, ["worker"])


def await_queued(names: list[str]) -> list[FlowRun]:
    """Return the runs of these models, once each has one."""
    end = time.monotonic() + QUEUED_S
    while True:
        runs = [run for run in newest_runs() if run.parameters.get("model_name") in names]
        if {run.parameters["model_name"] for run in runs} == set(names):
            return runs
        assert time.monotonic() < end, f"{len(runs)} of {len(names)} updates wait"
        time.sleep(0.5)


@pytest.mark.timeout(600)
def test_fifty_updates_at_once_wait_as_one_run_each_and_none_is_lost(
    stack: LocalStack, environment: Environment, model_name: str, measured: Measured
) -> None:
    registry = environment.registry
    forget_missed_updates(registry)
    with versions_without_files(registry, model_name.removesuffix("-onnx")) as registered, worker_stopped(stack):
        names = registered[:UPDATES]
        start = time.monotonic()
        with automations_resumed():
            set_in_a_burst(registry, names, meanwhile=lambda: None)
            queued = await_queued(names)
            taken_s = time.monotonic() - start
            told = poll_aliases()
        waiting = [run for run in newest_runs() if run.parameters.get("model_name") in names]
        with get_client(sync_client=True) as client:
            for run in waiting:
                client.delete_flow_run(run.id)

    measured(f"{UPDATES} aliases set at once: each queued as a run after {taken_s:.1f} s")
    assert told == ()
    assert Counter(run.parameters["model_name"] for run in waiting) == Counter(names)
    assert {run.id for run in waiting} == {run.id for run in queued}
    assert all(run.state is not None and not run.state.is_final() for run in queued)
