"""Who waits takes no place: what was waited for, and anything else, can run meanwhile, on a real worker."""

import os
import subprocess
import sys
import time
import uuid
from collections.abc import Callable, Iterator
from contextlib import suppress
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any
from uuid import UUID

import psutil
import pytest
from prefect import Flow, flow
from prefect.client.orchestration import SyncPrefectClient, get_client
from prefect.client.schemas.actions import WorkPoolCreate, WorkPoolUpdate
from prefect.client.schemas.filters import FlowRunFilter
from prefect.client.schemas.objects import FlowRun, State
from prefect.states import AwaitingRetry, Cancelling, Completed, Failed, Pending, Running, Scheduled, Suspended

from flows.running.waiting import (
    CHILD,
    FETCHED_AHEAD_S,
    LOCK,
    Awaited,
    find_last_waits,
    find_longest_waiting,
    get_waited_s,
    give_place_back,
    wake,
)
from infra.local.settings import ROOT, LocalStack
from tests.apparatus import waiting_flows
from tests.apparatus.thinning import keep
from tests.apparatus.waiting_flows import child, other_model, parent, stumbler, waiter
from tests.conftest import Measured

PLACES, OTHERS = 2, 1
AnyFlow = Flow[Any, Any]
Start = Callable[[AnyFlow, str], UUID]


def history(*states: State) -> list[State]:
    """Return a run's states as they followed each other."""
    start = datetime(2026, 2, 3, tzinfo=UTC)
    return [s.model_copy(update={"timestamp": start + timedelta(seconds=number)}) for number, s in enumerate(states)]


AWAITING: State[Any] = Scheduled(name=LOCK.state_name)
AGAIN: tuple[State[Any], ...] = (Pending(), Running())


def test_a_wait_counts_from_its_first_execution_and_over_those_that_came_late() -> None:
    states = history(Scheduled(), *AGAIN, AWAITING, *AGAIN, AWAITING, Scheduled(name="Late"), *AGAIN, AWAITING, *AGAIN)

    assert [state.timestamp for state in find_last_waits(reversed(states), LOCK)] == [
        states[position].timestamp for position in (3, 6, 10)
    ]
    assert find_last_waits(states, CHILD) == []


@pytest.mark.parametrize("between", [AwaitingRetry(), Suspended(timeout_seconds=1), Failed(), Completed()])
def test_what_was_waited_for_before_something_else_happened_is_another_wait(between: State) -> None:
    assert find_last_waits(history(AWAITING, *AGAIN, between, *AGAIN), LOCK) == []
    assert len(find_last_waits(history(AWAITING, *AGAIN, between, *AGAIN, AWAITING, *AGAIN), LOCK)) == 1


@pytest.mark.parametrize("awaited", [LOCK, CHILD])
def test_a_pause_is_longer_than_a_worker_looks_ahead_and_shorter_than_a_lost_run_is_given(awaited: Awaited) -> None:
    pauses = [awaited.compute_pause_s(waits) for waits in range(10_000)]

    assert pauses == sorted(pauses)
    assert pauses[0] > FETCHED_AHEAD_S and pauses[-1] <= 300


def test_who_was_asked_for_first_is_woken_unless_a_worker_may_have_it_already() -> None:
    now = datetime.now(UTC)

    def waiting(asked_s: float, again_s: float) -> FlowRun:
        again: State[Any] = Scheduled(name=LOCK.state_name, scheduled_time=now + timedelta(seconds=again_s))
        expected = now + timedelta(seconds=asked_s)
        return FlowRun.model_validate({"flow_id": uuid.uuid4(), "expected_start_time": expected, "state": again})

    first, second, due = waiting(-20, 60), waiting(-10, 60), waiting(-30, 5)

    assert find_longest_waiting([second, first]) == first
    assert find_longest_waiting([second, first, due]) is None
    assert find_longest_waiting([]) is None


@pytest.fixture(scope="module")
def client(stack: LocalStack) -> Iterator[SyncPrefectClient]:
    with get_client(sync_client=True) as client:
        yield client


@pytest.fixture(scope="module")
def notes(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Where the flows write down what happened to them."""
    return tmp_path_factory.mktemp("waiting")


@pytest.fixture(scope="module")
def pool(client: SyncPrefectClient, notes: Path) -> Iterator[str]:
    """A pool of two places, with a deployment of each flow and a worker."""
    pool = f"waiting-{uuid.uuid4().hex[:8]}"
    client.create_work_pool(WorkPoolCreate(name=pool, type="process", concurrency_limit=PLACES))
    here = {"prefect.deployments.steps.set_working_directory": {"directory": str(ROOT)}}
    for each in (waiter, stumbler, other_model, child, parent):
        client.create_deployment(
            client.create_flow(each),
            notes.name,
            work_pool_name=pool,
            entrypoint=f"tests/apparatus/{Path(waiting_flows.__file__).name}:{each.fn.__name__}",
            pull_steps=[here],
        )
    log = (notes / "worker.log").open("w")
    command = [sys.executable, "-m", "prefect", "worker", "start", "--pool", pool, "--type", "process"]
    variables = os.environ | {"PREFECT_WORKER_QUERY_SECONDS": "1"}
    worker = subprocess.Popen(command, cwd=ROOT, stdout=log, stderr=subprocess.STDOUT, env=variables)
    yield pool
    end(worker)
    client.delete_work_pool(pool)


def end(worker: subprocess.Popen[bytes]) -> None:
    """Stop a worker and what it runs; Prefect's sometimes hangs once its observer lost the event loop."""
    worker.terminate()
    with suppress(subprocess.TimeoutExpired):
        worker.wait(15)
        return
    processes = [psutil.Process(worker.pid), *psutil.Process(worker.pid).children(recursive=True)]
    for process in processes:
        with suppress(psutil.NoSuchProcess):
            process.kill()
    worker.wait(15)


@pytest.fixture
def start(client: SyncPrefectClient, pool: str, notes: Path) -> Iterator[Start]:
    """Start a run of a flow for a model; what has not ended with its test is cancelled."""
    started: list[UUID] = []

    def run(of: AnyFlow, model_name: str) -> UUID:
        deployment = client.read_deployment_by_name(f"{of.name}/{notes.name}")
        parameters = {"model_name": model_name, "notes": str(notes)}
        started.append(client.create_flow_run_from_deployment(deployment.id, parameters=parameters).id)
        return started[-1]

    yield run
    for flow_run_id in started:
        if not client.read_flow_run(flow_run_id).state.is_final():  # type: ignore[union-attr]
            with suppress(Exception):
                client.set_flow_run_state(flow_run_id, Cancelling())


def await_state(client: SyncPrefectClient, flow_run_id: UUID, *names: str, within_s: float = 120) -> FlowRun:
    """Wait until a run is in a state of one of these names."""
    end = time.monotonic() + within_s
    while (run := client.read_flow_run(flow_run_id)).state_name not in names:
        assert time.monotonic() < end, (run.name, run.state)
        time.sleep(0.1)
    return run


def states_of(client: SyncPrefectClient, flow_run_id: UUID) -> list[State]:
    return sorted(client.read_flow_run_states(flow_run_id), key=lambda state: state.timestamp)


@pytest.mark.timeout(600)
def test_runs_that_wait_keep_no_other_from_starting_and_end_when_it_is_their_turn(
    client: SyncPrefectClient, start: Start, notes: Path, measured: Measured
) -> None:
    names = [uuid.uuid4().hex for _ in range(PLACES)]
    waiting = [start(waiter, name) for name in names]
    for run in waiting:
        await_state(client, run, LOCK.state_name)

    others = []
    for _ in range(OTHERS):
        others.append(start(other_model, "another"))
        await_state(client, others[-1], "Completed")
    for name in names:
        (notes / f"{name} is free").touch()
    ended = [await_state(client, run, "Completed", "Failed", "Crashed", within_s=200) for run in waiting]

    delays = [delay_s(client, run) for run in others]
    measured(
        f"a run starts {', '.join(f'{delay:.1f}' for delay in delays)} s after it was asked for, all places waiting"
    )
    assert {run.state_name for run in ended} == {"Completed"}
    written = [line for line in (notes / "notes").read_text().splitlines() if line.endswith(tuple(map(str, waiting)))]
    assert sorted(written) == sorted(f"step of {run}" for run in waiting), "no hook, and a step is done once"
    for run in waiting:
        kinds = {state.type.name for state in states_of(client, run)}
        assert kinds == {"SCHEDULED", "PENDING", "RUNNING", "COMPLETED"}


def delay_s(client: SyncPrefectClient, flow_run_id: UUID) -> float:
    """Return the seconds from a run's being asked for to its being under way."""
    first, *later = states_of(client, flow_run_id)
    running = next(state for state in later if state.is_running())
    return (running.timestamp - first.timestamp).total_seconds()


@pytest.mark.exhaustive  # a parent, above, is woken by its child
@pytest.mark.timeout(300)
def test_a_run_that_is_woken_goes_on_before_its_time_and_a_retry_is_left_to_it(
    client: SyncPrefectClient, start: Start, notes: Path
) -> None:
    run = start(stumbler, name := uuid.uuid4().hex)
    await_state(client, run, LOCK.state_name)
    (notes / f"{name} is free").touch()

    woken = wake(LOCK, name)
    run_after = await_state(client, run, "Completed", "Failed", "Crashed")

    assert woken == run
    assert run_after.state_name == "Completed", "its wait used up no retry"
    assert (notes / f"{name} stumbled").exists()
    assert wake(LOCK, name) is None


@pytest.mark.timeout(300)
def test_a_run_that_waits_is_cancelled_at_once(client: SyncPrefectClient, start: Start) -> None:
    run = start(waiter, uuid.uuid4().hex)
    await_state(client, run, LOCK.state_name)

    client.set_flow_run_state(run, Cancelling())

    assert client.read_flow_run(run).state_name == "Cancelled"


@pytest.fixture
def one_place(client: SyncPrefectClient, pool: str) -> Iterator[None]:
    """Have parent and child share a single place."""
    client.update_work_pool(pool, WorkPoolUpdate(concurrency_limit=1))
    yield
    client.update_work_pool(pool, WorkPoolUpdate(concurrency_limit=PLACES))


@pytest.mark.timeout(300)
@pytest.mark.parametrize(
    ("says", "comes_to"), keep({"completed": ("", "Completed"), "failed": ("diverged", "Failed")}, {"completed"})
)
def test_a_parent_gives_its_place_to_its_child_and_goes_on_when_that_has_ended(
    client: SyncPrefectClient, start: Start, notes: Path, one_place: None, measured: Measured, says: str, comes_to: str
) -> None:
    run = start(parent, name := uuid.uuid4().hex)
    await_state(client, run, CHILD.state_name)
    (begun,) = children(client, run)
    await_state(client, begun.id, "Running")
    (notes / f"{name} writes").write_text(says)
    (notes / f"{name} writes").rename(notes / f"{name} ends")  # whole, or not there: the child looks all the while

    ended = await_state(client, run, "Completed", "Failed", "Crashed")

    (only,) = children(client, run)
    assert (ended.state_name, only.state_name) == (comes_to, comes_to)
    waited = (ended.end_time or datetime.now(UTC)) - (only.end_time or datetime.now(UTC))
    measured(f"a parent ends {waited.total_seconds():.1f} s after its child, which ended as {comes_to}")
    assert says in str(ended.state and ended.state.message)


@pytest.mark.timeout(300)
def test_a_parent_that_is_cancelled_while_it_waits_takes_its_child_along(
    client: SyncPrefectClient, start: Start
) -> None:
    run = start(parent, uuid.uuid4().hex)
    await_state(client, run, CHILD.state_name)
    (begun,) = children(client, run)
    await_state(client, begun.id, "Running")

    client.set_flow_run_state(run, Cancelling())

    await_state(client, run, "Cancelled")  # at once, or by its worker where it was just looking again
    await_state(client, begun.id, "Cancelled", "Crashed")


def children(client: SyncPrefectClient, flow_run_id: UUID) -> list[FlowRun]:
    theirs = FlowRunFilter.model_validate({"parent_flow_run_id": {"any_": [flow_run_id]}})
    return client.read_flow_runs(flow_run_filter=theirs)


def test_a_run_that_no_worker_would_execute_again_stays_where_it_is(stack: LocalStack) -> None:
    @flow(name="by-hand")
    def by_hand() -> float:
        give_place_back(LOCK, "nobody comes again")
        return get_waited_s(LOCK)

    assert by_hand() == 0
