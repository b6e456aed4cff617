"""A step that another deployment carries out: what becomes of the child becomes of its parent, and the other way."""

import threading
import time
import uuid
from collections.abc import Callable, Iterator
from typing import Any
from uuid import UUID

import pytest
from prefect import flow
from prefect.client.orchestration import get_client
from prefect.client.schemas.actions import WorkPoolCreate
from prefect.client.schemas.filters import DeploymentFilter, DeploymentFilterId
from prefect.client.schemas.objects import FlowRun, State
from prefect.states import Cancelled, Completed, Crashed, Failed, Running

from blocks.errors import InvalidInput, StepCancelled, StepFailed
from flows.running.elsewhere import end_children, run_elsewhere
from infra.local.settings import LocalStack


@flow(name="child")
def child(number: int = 1) -> int:
    return number


@pytest.fixture(scope="module")
def deployment(stack: LocalStack) -> Iterator[tuple[str, UUID]]:
    """A deployment on a pool without a worker: the test decides what becomes of its runs."""
    name = f"nobody-{uuid.uuid4().hex[:8]}"
    with get_client(sync_client=True) as client:
        client.create_work_pool(WorkPoolCreate(name=name, type="process"))
        created = client.create_deployment(client.create_flow(child), name, work_pool_name=name)
        yield f"child/{name}", created
        client.delete_deployment(created)
        client.delete_work_pool(name)


def children(deployment_id: UUID) -> list[FlowRun]:
    with get_client(sync_client=True) as client:
        found = client.read_flow_runs(deployment_filter=DeploymentFilter(id=DeploymentFilterId(any_=[deployment_id])))
    return sorted(found, key=lambda run: run.created or run.expected_start_time)  # type: ignore[arg-type, return-value]


def parent_of(name: str, retries: int = 0) -> Any:
    hooks: Any = {"on_failure": [end_children], "on_cancellation": [end_children], "on_crashed": [end_children]}

    @flow(name="parent", retries=retries, **hooks)
    def parent() -> str:
        return str(run_elsewhere(name, {"number": 2}, deadline_s=20).name)

    return parent


@pytest.fixture
def ending_in_turn(deployment: tuple[str, UUID]) -> Iterator[Callable[[list[State[Any]]], None]]:
    """Have the children that are begun from now on end as told, one after another."""
    threads: list[threading.Thread] = []

    def decide(known: set[UUID], ends: list[State[Any]]) -> None:
        with get_client(sync_client=True) as client:
            for end in ends:
                while not (new := [run.id for run in children(deployment[1]) if run.id not in known]):
                    time.sleep(0.1)
                client.set_flow_run_state(new[0], Running(), force=True)
                client.set_flow_run_state(new[0], end, force=True)
                known.add(new[0])

    def begin(ends: list[State[Any]]) -> None:
        known = {run.id for run in children(deployment[1])}
        threads.append(threading.Thread(target=decide, args=(known, ends), daemon=True))
        threads[-1].start()

    yield begin
    for thread in threads:
        thread.join(20)


@pytest.fixture
def ending(
    deployment: tuple[str, UUID], ending_in_turn: Callable[[list[State[Any]]], None]
) -> Callable[..., State[Any]]:
    """Run a parent whose child ends as told."""

    def run(end: State[Any]) -> State[Any]:
        ending_in_turn([end])
        state: State[Any] = parent_of(deployment[0])(return_state=True)
        return state

    return run


def test_a_child_that_completes_lets_its_parent_go_on(ending: Callable[..., State[Any]]) -> None:
    assert ending(Completed(name="Fine")).result() == "Fine"


def test_a_child_that_fails_fails_its_parent_with_its_reason(ending: Callable[..., State[Any]]) -> None:
    with pytest.raises(StepFailed, match=r"ended as Failed \(diverged in epoch 3\)"):
        ending(Failed(message="diverged in epoch 3")).result()


def test_a_child_that_crashes_fails_its_parent(ending: Callable[..., State[Any]]) -> None:
    with pytest.raises(StepFailed, match=r"ended as Crashed \(out of memory\)"):
        ending(Crashed(message="out of memory")).result()


def test_a_child_that_is_cancelled_is_told_apart(ending: Callable[..., State[Any]]) -> None:
    with pytest.raises(StepCancelled, match="was cancelled"):
        ending(Cancelled(message="by hand")).result()


def test_a_parent_that_is_tried_again_has_another_child_where_the_first_failed(
    deployment: tuple[str, UUID], ending_in_turn: Callable[[list[State[Any]]], None]
) -> None:
    known = {run.id for run in children(deployment[1])}
    ending_in_turn([Failed(message="out of memory"), Completed(name="Fine")])

    assert parent_of(deployment[0], retries=1)() == "Fine"

    states = [run.state_name for run in children(deployment[1]) if run.id not in known]
    assert states == ["Failed", "Fine"]


def test_a_child_outlives_no_parent(deployment: tuple[str, UUID]) -> None:
    known = {run.id for run in children(deployment[1])}

    with pytest.raises(StepFailed, match="has not ended within 20 s"):
        parent_of(deployment[0])()

    (left,) = [run for run in children(deployment[1]) if run.id not in known]
    assert left.state is not None
    assert left.state.is_cancelling() or left.state.is_cancelled()


def test_a_deployment_that_does_not_exist_is_named(stack: LocalStack) -> None:
    with pytest.raises(InvalidInput, match="deployment 'child/nowhere'"):
        parent_of("child/nowhere")()
