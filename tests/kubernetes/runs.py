"""Flow runs on a cluster: what became of them, and which pods carried them out."""

import threading
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import datetime
from uuid import UUID

from prefect.client.orchestration import get_client
from prefect.client.schemas.filters import (
    FlowFilter,
    FlowFilterName,
    FlowRunFilter,
    FlowRunFilterId,
    FlowRunFilterParentFlowRunId,
)
from prefect.client.schemas.objects import FlowRun, TaskRun

from tests.kubernetes.cluster import LOOK_S, Cluster, Ran, eventually


def read_run(run_id: UUID) -> FlowRun:
    """Return a flow run as it is now."""
    with get_client(sync_client=True) as client:
        return client.read_flow_run(run_id)


def ended(run_id: UUID, within_s: float) -> FlowRun:
    """Return a flow run once it has ended."""

    def final() -> FlowRun | None:
        run = read_run(run_id)
        return run if run.state and run.state.is_final() else None

    return eventually(f"the end of flow run {run_id}", final, within_s) or read_run(run_id)


def completed(run_id: UUID, within_s: float) -> FlowRun:
    """Return a flow run once it has completed."""
    run = ended(run_id, within_s)
    assert run.state is not None
    assert run.state.is_completed(), f"{run.name}: {run.state_name}, {run.state.message}"
    return run


def children(run_id: UUID) -> list[FlowRun]:
    """Return the runs other deployments made for a run."""
    of_it = FlowRunFilter(parent_flow_run_id=FlowRunFilterParentFlowRunId(any_=[run_id]))
    with get_client(sync_client=True) as client:
        return client.read_flow_runs(flow_run_filter=of_it)


def runs_of(flow_name: str, **parameters: object) -> list[FlowRun]:
    """Return the runs of a flow with these parameters."""
    with get_client(sync_client=True) as client:
        found = client.read_flow_runs(flow_filter=FlowFilter(name=FlowFilterName(any_=[flow_name])), limit=200)
    return [run for run in found if parameters.items() <= run.parameters.items()]


def steps(run_id: UUID) -> list[TaskRun]:
    """Return the task runs of a flow run."""
    with get_client(sync_client=True) as client:
        return client.read_task_runs(flow_run_filter=FlowRunFilter(id=FlowRunFilterId(any_=[run_id])))


def step_end(run_id: UUID, name: str) -> datetime:
    """Return when a step ended last."""
    return max(step.end_time for step in steps(run_id) if step.name.startswith(name) and step.end_time)


@contextmanager
def watched_pods(cluster: Cluster) -> Iterator[dict[str, Ran]]:
    """Yield what becomes of every flow pod that runs while the block does, by its uid."""
    seen: dict[str, Ran] = {}
    over = threading.Event()
    before = {pod.uid for pod in cluster.flow_pods() if pod.phase in {"Succeeded", "Failed"}}

    def look() -> None:
        seen.update({pod.uid: pod for pod in cluster.flow_pods() if pod.uid not in before})

    def watch() -> None:
        while not over.wait(LOOK_S):
            look()

    look()
    thread = threading.Thread(target=watch, daemon=True)
    thread.start()
    try:
        yield seen
    finally:
        over.set()
        thread.join()
        look()
