"""Waiting without a place: a run whose turn has not come ends its process and is executed again later.

Who waits in a process takes one of its pool's places, and may keep out the very run it waits for. A run that a worker
started is scheduled anew instead and its process ends, as with a suspended run, but nobody has to resume it: no hook
runs, nothing counts as failed, steps whose results are kept are not done again.
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
    """What runs wait for: the name of their state meanwhile, and how soon they look again, ever more seldom."""

    state_name: str
    first_s: float
    most_s: float

    def pause_s(self, waits: int) -> float:
        """Return the seconds until a run looks again that has waited so many times."""
        return min(self.first_s * 2.0 ** min(waits, 16), self.most_s)


# Shorter would give nothing back (see above); longer than ten minutes without an event, a run counts as lost.
LOCK = Awaited("AwaitingLock", first_s=20, most_s=60)
CHILD = Awaited("AwaitingChild", first_s=20, most_s=300)


def give_place_back(awaited: Awaited, message: str) -> None:
    """End this process and have the run executed again, from its top, after a while that grows with each wait.

    Call it from the flow itself, where nothing is held that another run needs: in a `with` block is well, since that
    is left by an exception (`Pause`, which `except Exception` does not catch; let it pass). It comes back, and the
    caller waits in its process, where no worker would execute the run again: in a run without a deployment, a flow
    within a flow, a run that is being cancelled. So the way to wait for a lock is

        while not acquired():
            if in_place_for_s > 5 and waited_s(LOCK) < WAIT_S:
                give_place_back(LOCK, f"model '{model_name}': {holder} releases it")
            time.sleep(0.5)

    and who frees the lock calls `wake(LOCK, ...)`, so that the next one need not wait its pause out.
    """
    context = FlowRunContext.get()
    if TaskRunContext.get() or context is None or context.flow_run is None or not context.flow_run.deployment_id:
        return
    run = context.flow_run
    with get_client(sync_client=True) as client:
        waits = len(series(client.read_flow_run_states(run.id), awaited))
        again = datetime.now(UTC) + timedelta(seconds=awaited.pause_s(waits))
        _forget_this_execution(client, run)
        try:
            state = propose_state_sync(client, _waiting(awaited, again, message), flow_run_id=run.id)
        except Abort:
            return
    if state.is_scheduled():
        get_run_logger().info("%s; this run gives its place back and looks again at %s", message, again.isoformat())
        raise Pause(state=state)


def waited_s(awaited: Awaited) -> float:
    """Return for how long this run has been waiting so, in all its executions; 0 where it has not."""
    context = FlowRunContext.get()
    if context is None or context.flow_run is None:
        return 0.0
    with get_client(sync_client=True) as client:
        waits = series(client.read_flow_run_states(context.flow_run.id), awaited)
    return (datetime.now(UTC) - waits[0].timestamp).total_seconds() if waits else 0.0


def series(states: Iterable[State], awaited: Awaited) -> list[State]:
    """Return the last waits of a run's history, in order, that nothing but its being executed again interrupted."""
    waits: list[State] = []
    for state in sorted(states, key=lambda state: state.timestamp, reverse=True):
        if state.name == awaited.state_name:
            waits.append(state)
        elif state.type not in _ON_THE_WAY and state.name not in _DELAYED:
            break
    return waits[::-1]


def wake(awaited: Awaited, model_name: str, default_name: str | None = None) -> UUID | None:
    """Have the run that has waited longest for a model looked after at once; return its id, None where none waits.

    `default_name` is the model of runs that name none.
    """
    of_them = FlowRunFilter.model_validate({"state": {"name": {"any_": [awaited.state_name]}}})
    with get_client(sync_client=True) as client:
        waiting = client.read_flow_runs(flow_run_filter=of_them, sort=FlowRunSort.EXPECTED_START_TIME_ASC, limit=200)
        theirs = [run for run in waiting if run.parameters.get("model_name", default_name) == model_name]
        if (first := longest_waiting(theirs)) is None:
            return None
        _schedule_now(client, first, awaited)
        return first.id


def longest_waiting(runs: Sequence[FlowRun]) -> FlowRun | None:
    """Return the run that was asked for first, None where there is none or it is about to look by itself."""
    first = min(runs, key=lambda run: run.expected_start_time or datetime.now(UTC), default=None)
    return first if first is not None and _is_far_off(first) else None


def wake_parent(flow: Flow[..., object], flow_run: FlowRun, state: State) -> None:  # noqa: ARG001
    """Have the run that waits for this child go on at once; Prefect asks for exactly these argument names."""
    if flow_run.parent_task_run_id is None:
        return
    with get_client(sync_client=True) as client:
        parent_id = client.read_task_run(flow_run.parent_task_run_id).flow_run_id
        parent = client.read_flow_run(parent_id) if parent_id else None
        if parent is not None and parent.state_name == CHILD.state_name and _is_far_off(parent):
            _schedule_now(client, parent, CHILD)


def _is_far_off(run: FlowRun) -> bool:
    """Tell whether a waiting run is still its own: one that is due may be a worker's already."""
    again = run.state.state_details.scheduled_time if run.state else None
    return again is not None and again > datetime.now(UTC) + timedelta(seconds=FETCHED_AHEAD_S)


def _schedule_now(client: SyncPrefectClient, run: FlowRun, awaited: Awaited) -> None:
    message = "What it waits for has ended."
    client.set_flow_run_state(run.id, _waiting(awaited, datetime.now(UTC), message))


def _waiting(awaited: Awaited, again: datetime, message: str) -> State:
    return Scheduled(name=awaited.state_name, scheduled_time=again, message=message)


def _forget_this_execution(client: SyncPrefectClient, run: FlowRun) -> None:
    """Have Prefect take the run as one without a process, which cancelling ends at once, and not count it as a try."""
    changes: dict[str, object] = {"infrastructure_pid": None}
    policy = client.read_flow_run(run.id).empirical_policy
    if policy.retries:
        changes["empirical_policy"] = policy.model_copy(update={"retries": policy.retries + 1}).model_dump(mode="json")
    client.request("PATCH", "/flow_runs/{id}", path_params={"id": run.id}, json=changes).raise_for_status()
