"""Waiting without a place: a run whose turn has not come ends its process and is executed again later.

A run that waits in its process takes one of its pool's places, and may keep out the very run it waits for. A run that a
worker started is scheduled anew instead, and its process ends. Unlike a suspended run, nobody has to resume it. No hook
runs, nothing counts as failed, and Prefect does no step again whose result it kept.
"""

from collections.abc import Iterable, Sequence
from datetime import UTC, datetime, timedelta
from typing import NamedTuple
from uuid import UUID

from prefect import Flow
from prefect.client.orchestration import SyncPrefectClient, get_client
from prefect.client.schemas.filters import FlowRunFilter
from prefect.client.schemas.objects import FlowRun, State, StateType
from prefect.client.schemas.sorting import FlowRunSort
from prefect.context import FlowRunContext, TaskRunContext
from prefect.exceptions import Abort, Pause
from prefect.logging import get_run_logger
from prefect.states import Scheduled
from prefect.utilities.engine import propose_state_sync

FETCHED_AHEAD_S = 15.0  # a worker takes a run up to 10 s before its time, and from then on it has a place
_ON_THE_WAY = {StateType.PENDING, StateType.RUNNING}
_DELAYED = {"Late", "AwaitingConcurrencySlot"}


class Awaited(NamedTuple):
    """What runs wait for: the name of their state meanwhile, and the first and the longest pause between two looks."""

    state_name: str
    first_s: float
    most_s: float

    def compute_pause_s(self, waits: int) -> float:
        """Return the seconds until a run looks again: the first pause, doubled by each wait, up to the longest."""
        return min(self.first_s * 2.0 ** min(waits, 16), self.most_s)


# A pause within FETCHED_AHEAD_S would give no place back; after ten minutes without an event a run counts as lost.
LOCK = Awaited("AwaitingLock", first_s=20, most_s=60)
CHILD = Awaited("AwaitingChild", first_s=60, most_s=300)  # it wakes its parent, and each look begins a pod


def give_place_back(awaited: Awaited, message: str) -> None:
    """End this process and have the run executed again, from its top, after a while that grows with each wait.

    A flow calls it where it holds nothing that another run needs. It raises `Pause`, which ends `with` blocks and which
    `except Exception` does not catch. It returns, and the caller waits in its process, where no worker would execute
    the run again: in a run without a deployment, in a flow within a flow, in a run that is being cancelled. This is how
    a flow waits for a lock:

        while not acquired():
            if in_place_for_s > 5 and get_waited_s(LOCK) < WAIT_S:
                give_place_back(LOCK, f"model '{model_name}': {holder} releases it")
            time.sleep(0.5)

    The run that frees the lock calls `wake(LOCK, ...)`, so that the next one does not wait its pause out.
    """
    context = FlowRunContext.get()
    if TaskRunContext.get() or context is None or context.flow_run is None or not context.flow_run.deployment_id:
        return
    run = context.flow_run
    with get_client(sync_client=True) as client:
        waits = len(find_last_waits(client.read_flow_run_states(run.id), awaited))
        again = datetime.now(UTC) + timedelta(seconds=awaited.compute_pause_s(waits))
        _forget_this_execution(client, run)
        try:
            state = propose_state_sync(client, _make_state(awaited, again, message), flow_run_id=run.id)
        except Abort:
            return
    if state.is_scheduled():
        get_run_logger().info("%s; this run gives its place back and looks again at %s", message, again.isoformat())
        raise Pause(state=state)


def get_waited_s(awaited: Awaited) -> float:
    """Return the seconds that this run has been waiting for it, over all its executions; 0 where it has not."""
    context = FlowRunContext.get()
    if context is None or context.flow_run is None:
        return 0.0
    with get_client(sync_client=True) as client:
        waits = find_last_waits(client.read_flow_run_states(context.flow_run.id), awaited)
    return (datetime.now(UTC) - waits[0].timestamp).total_seconds() if waits else 0.0


def find_last_waits(states: Iterable[State], awaited: Awaited) -> list[State]:
    """Return the last waits of a run's history, in order: those with nothing but executions of the run between them."""
    waits: list[State] = []
    for state in sorted(states, key=lambda state: state.timestamp, reverse=True):
        if state.name == awaited.state_name:
            waits.append(state)
        elif state.type not in _ON_THE_WAY and state.name not in _DELAYED:
            break
    return waits[::-1]


def wake(awaited: Awaited, model_name: str, default_name: str | None = None) -> UUID | None:
    """Have the run that has waited longest for a model executed at once; return its id, None where none waits.

    `default_name` is the model of runs that name none.
    """
    of_them = FlowRunFilter.model_validate({"state": {"name": {"any_": [awaited.state_name]}}})
    with get_client(sync_client=True) as client:
        waiting = client.read_flow_runs(flow_run_filter=of_them, sort=FlowRunSort.EXPECTED_START_TIME_ASC, limit=200)
        theirs = [run for run in waiting if run.parameters.get("model_name", default_name) == model_name]
        if (first := find_longest_waiting(theirs)) is None:
            return None
        _schedule_now(client, first, awaited)
        return first.id


def find_longest_waiting(runs: Sequence[FlowRun]) -> FlowRun | None:
    """Return the run that was asked for first; None where there is none, or where it is about to look by itself."""
    first = min(runs, key=lambda run: run.expected_start_time or datetime.now(UTC), default=None)
    return first if first is not None and _is_far_off(first) else None


def wake_parent(flow: Flow[..., object], flow_run: FlowRun, state: State) -> None:  # noqa: ARG001
    """Have the run that waits for this child executed at once; Prefect asks for exactly these argument names."""
    if flow_run.parent_task_run_id is None:
        return
    with get_client(sync_client=True) as client:
        parent_id = client.read_task_run(flow_run.parent_task_run_id).flow_run_id
        parent = client.read_flow_run(parent_id) if parent_id else None
        if parent is not None and parent.state_name == CHILD.state_name and _is_far_off(parent):
            _schedule_now(client, parent, CHILD)


def _is_far_off(run: FlowRun) -> bool:
    """Tell whether no worker can have taken a waiting run yet."""
    again = run.state.state_details.scheduled_time if run.state else None
    return again is not None and again > datetime.now(UTC) + timedelta(seconds=FETCHED_AHEAD_S)


def _schedule_now(client: SyncPrefectClient, run: FlowRun, awaited: Awaited) -> None:
    message = "What it waits for has ended."
    client.set_flow_run_state(run.id, _make_state(awaited, datetime.now(UTC), message))


def _make_state(awaited: Awaited, again: datetime, message: str) -> State:
    return Scheduled(name=awaited.state_name, scheduled_time=again, message=message)


def _forget_this_execution(client: SyncPrefectClient, run: FlowRun) -> None:
    """Have Prefect cancel the run at once while it has no process, and count no retry for this execution."""
    changes: dict[str, object] = {"infrastructure_pid": None}
    policy = client.read_flow_run(run.id).empirical_policy
    if policy.retries:
        changes["empirical_policy"] = policy.model_copy(update={"retries": policy.retries + 1}).model_dump(mode="json")
    client.request("PATCH", "/flow_runs/{id}", path_params={"id": run.id}, json=changes).raise_for_status()
