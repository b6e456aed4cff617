"""A pool's queues: what brings serving back starts at once, though everything else waits for a place."""

import uuid
from collections.abc import Iterator
from typing import NamedTuple
from uuid import UUID

import pytest
from prefect import flow
from prefect.client.orchestration import SyncPrefectClient, get_client
from prefect.client.schemas.actions import WorkPoolCreate, WorkPoolUpdate
from prefect.states import Running

from blocks.errors import InvalidInput
from infra.local.settings import LocalStack
from infra.setup import pools
from infra.setup.pools import apply_local_queues
from infra.setup.queues import DEFAULT, RESERVED, URGENT, apply_queues, count_places_left

LIMIT = 10


@flow(name="nothing")
def nothing() -> None: ...


class Pool(NamedTuple):
    """A pool without a worker, with a deployment in each of its queues."""

    client: SyncPrefectClient
    name: str
    ordinary: UUID
    urgent: UUID

    def begin(self, deployment: UUID, count: int) -> list[UUID]:
        """Ask for runs."""
        return [self.client.create_flow_run_from_deployment(deployment).id for _ in range(count)]

    def handed_out(self) -> list[UUID]:
        """The runs that a worker which asks now is told to start."""
        return [found.flow_run.id for found in self.client.get_scheduled_flow_runs_for_work_pool(self.name)]

    def run(self, runs: list[UUID]) -> None:
        """Let runs take their places."""
        for run in runs:
            self.client.set_flow_run_state(run, Running(), force=True)


@pytest.fixture
def pool(stack: LocalStack) -> Iterator[Pool]:
    name = f"queues-{uuid.uuid4().hex[:8]}"
    with get_client(sync_client=True) as client:
        client.create_work_pool(WorkPoolCreate(name=name, type="process", concurrency_limit=LIMIT))
        apply_queues(client, name, LIMIT)
        flow_id = client.create_flow(nothing)
        ordinary = client.create_deployment(flow_id, f"{name}-ordinary", work_pool_name=name)
        urgent = client.create_deployment(flow_id, f"{name}-urgent", work_pool_name=name, work_queue_name=URGENT)
        yield Pool(client, name, ordinary, urgent)
        for deployment in (ordinary, urgent):
            client.delete_deployment(deployment)
        client.delete_work_pool(name)


def test_an_urgent_run_starts_at_once_where_all_else_waits(pool: Pool) -> None:
    waiting = pool.begin(pool.ordinary, 2 * LIMIT)
    pool.run(started := pool.handed_out())
    assert len(started) == LIMIT - RESERVED and set(started) < set(waiting)
    assert pool.handed_out() == []

    (urgent,) = pool.begin(pool.urgent, 1)

    assert pool.handed_out() == [urgent]


def test_an_urgent_run_goes_before_those_that_waited_longer(pool: Pool) -> None:
    pool.begin(pool.ordinary, 1)
    (urgent,) = pool.begin(pool.urgent, 1)

    assert pool.handed_out()[0] == urgent


def test_urgent_runs_take_no_more_places_than_the_pool_has(pool: Pool) -> None:
    pool.run(pool.begin(pool.urgent, LIMIT))
    pool.begin(pool.urgent, 1)

    assert pool.handed_out() == []


@pytest.mark.parametrize("limit", [4, None])
def test_setting_up_again_follows_the_pools_limit(pool: Pool, limit: int | None) -> None:
    pool.client.update_work_pool(pool.name, WorkPoolUpdate(concurrency_limit=limit))
    apply_queues(pool.client, pool.name, limit)

    found = {queue.name: queue for queue in pool.client.read_work_queues(pool.name)}
    assert found[DEFAULT].concurrency_limit == count_places_left(limit)
    assert found[URGENT].concurrency_limit is None
    assert (found[URGENT].priority, found[DEFAULT].priority) == (1, 2)


@pytest.mark.parametrize(("limit", "left"), [(None, None), (10, 8), (3, 1), (2, 1), (1, 1)])
def test_others_keep_a_place_in_every_pool(limit: int | None, left: int | None) -> None:
    assert count_places_left(limit) == left


def test_the_local_pool_has_its_queues(stack: LocalStack) -> None:
    with get_client(sync_client=True) as client:
        apply_local_queues(client)

        rest = client.read_work_queue_by_name(DEFAULT, "local")
        assert rest.concurrency_limit == count_places_left(client.read_work_pool("local").concurrency_limit)
        assert client.read_deployment_by_name("rollback-model/local").work_queue_name == URGENT


def test_setting_up_before_there_is_a_pool_says_how_to_make_one(
    stack: LocalStack, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(pools, "LOCAL", "nowhere")

    with get_client(sync_client=True) as client, pytest.raises(InvalidInput, match="pool 'nowhere': there is none"):
        apply_local_queues(client)
