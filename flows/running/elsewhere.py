"""A step of a flow that another deployment carries out, on another pool: followed to its end, ended with its parent.

Prefect's `run_deployment` does not say how the child ended, and its child outlives its parent. Here the parent ends as
its child did, and `end_children` cancels the child with its parent. While the child works, its parent has no process
and takes no place (`flows/running/waiting.py`); `wake_parent` wakes it.
"""

import time
from datetime import UTC, datetime
from typing import Any
from uuid import UUID

from prefect import Flow, get_run_logger, runtime
from prefect.client.orchestration import SyncPrefectClient, get_client
from prefect.client.schemas.filters import FlowRunFilter, FlowRunFilterDeploymentId, FlowRunFilterParentFlowRunId
from prefect.client.schemas.objects import FlowRun, State
from prefect.client.schemas.sorting import FlowRunSort
from prefect.deployments import run_deployment
from prefect.exceptions import ObjectNotFound
from prefect.states import Cancelling

from blocks.errors import InvalidInput, StepCancelled, StepFailed
from flows.running.waiting import CHILD, get_waited_s, give_place_back

POLL_S = 2.0
DEADLINE_S = 48 * 3600.0
_ATTEMPTS = 100


def run_elsewhere(deployment: str, parameters: dict[str, Any], deadline_s: float = DEADLINE_S) -> State[Any]:
    """Run a deployment as a step of this flow run and return its completed state.

    A run that is executed again, in a new pod or since the child has ended, follows the child it began before. A run
    that is retried after its child failed begins another. Raises `StepFailed` where the child fails, crashes or is
    late, `StepCancelled` where it is cancelled, `InvalidInput` where there is no such deployment.
    """
    with get_client(sync_client=True) as client:
        child = _find_or_begin_child(client, deployment, parameters)
        get_run_logger().info("%s carries this step out as flow run '%s' (%s)", deployment, child.name, child.id)
        state = _follow(client, child, deadline_s)
    subject = f"step {deployment}, flow run '{child.name}' ({child.id})"
    if state.is_cancelled():
        raise StepCancelled(f"{subject}: was cancelled ({state.message}); so is this run")
    if not state.is_completed():
        raise StepFailed(f"{subject}: ended as {state.name} ({state.message}); see its log, then retry this run")
    return state


def end_children(flow: Flow[Any, Any], flow_run: FlowRun, state: State) -> None:  # noqa: ARG001
    """Cancel what other deployments do for a run that has ended; Prefect asks for exactly these argument names."""
    of_this_run = FlowRunFilter(parent_flow_run_id=FlowRunFilterParentFlowRunId(any_=[flow_run.id]))
    with get_client(sync_client=True) as client:
        for child in client.read_flow_runs(flow_run_filter=of_this_run):
            if child.deployment_id and child.state and not (child.state.is_final() or child.state.is_cancelling()):
                client.set_flow_run_state(child.id, Cancelling(message=f"Its parent {flow_run.name} ended."))


def _find_or_begin_child(client: SyncPrefectClient, deployment: str, parameters: dict[str, Any]) -> FlowRun:
    """Return the child that this run began last, or a new one where it began none or that one failed.

    A child that this run has been waiting for is returned however it ended.
    """
    try:
        deployment_id = client.read_deployment_by_name(deployment).id
    except ObjectNotFound as error:
        raise InvalidInput(f"deployment '{deployment}': there is none; see `prefect deployment ls`") from error
    begun = _list_children(client, UUID(runtime.flow_run.id), deployment_id)
    if begun and (not _has_ended_badly(begun[-1]) or get_waited_s(CHILD)):
        return begun[-1]
    if len(begun) >= _ATTEMPTS:
        raise StepFailed(f"step {deployment}: {_ATTEMPTS} runs of it failed for this run; start a new one")
    key = f"{runtime.flow_run.id}-{deployment}-{len(begun)}"
    return run_deployment(deployment, parameters=parameters, timeout=0, idempotency_key=key)  # type: ignore[return-value]


def _list_children(client: SyncPrefectClient, parent_id: UUID, deployment_id: UUID) -> list[FlowRun]:
    """Return a run's children of one deployment, the oldest first."""
    theirs = FlowRunFilter(
        parent_flow_run_id=FlowRunFilterParentFlowRunId(any_=[parent_id]),
        deployment_id=FlowRunFilterDeploymentId(any_=[deployment_id]),
    )
    return client.read_flow_runs(flow_run_filter=theirs, sort=FlowRunSort.EXPECTED_START_TIME_ASC, limit=_ATTEMPTS)


def _has_ended_badly(child: FlowRun) -> bool:
    return child.state is not None and child.state.is_final() and not child.state.is_completed()


def _follow(client: SyncPrefectClient, child: FlowRun, deadline_s: float) -> State[Any]:
    """Return how a child ended; meanwhile this run gives its place back where it can."""
    subject, begun_at = f"flow run '{child.name}' ({child.id})", child.created or datetime.now(UTC)
    while True:
        state = client.read_flow_run(child.id).state
        if state is not None and state.is_final():
            return state
        if (datetime.now(UTC) - begun_at).total_seconds() > deadline_s:
            client.set_flow_run_state(child.id, Cancelling(message="It took too long for its parent."))
            raise StepFailed(f"{subject}: has not ended within {deadline_s:.0f} s")
        give_place_back(CHILD, f"{subject} carries this step out")
        time.sleep(POLL_S)
