"""The queues of a work pool: what brings serving back has places of its own, however much waits for the others.

Prefect hands out a pool's places by the priority of its queues, and no more to a queue than the queue's own limit.
"""

from prefect.client.orchestration import SyncPrefectClient
from prefect.exceptions import ObjectAlreadyExists

URGENT = "urgent"  # rollback-model, withdraw-model, reconcile-models and poll-aliases, see prefect.yaml
DEFAULT = "default"  # of every pool's Prefect's own, for everything else
RESERVED = 2  # a rollback, and one of the two flows that run by a schedule


def apply_queues(client: SyncPrefectClient, pool: str, limit: int | None) -> None:
    """Make the queue `urgent` of a pool the first, and leave it places that no other run can take.

    A pool without a limit has places for all; one for a single run has none to spare.
    """
    try:
        urgent = client.create_work_queue(URGENT, priority=1, work_pool_name=pool)
    except ObjectAlreadyExists:
        urgent = client.read_work_queue_by_name(URGENT, pool)
        client.update_work_queue(urgent.id, priority=1)
    rest = client.read_work_queue_by_name(DEFAULT, pool)
    client.update_work_queue(rest.id, concurrency_limit=count_places_left(limit))


def count_places_left(limit: int | None) -> int | None:
    """Return how many of a pool's places the runs of its default queue may take."""
    return None if limit is None else max(1, limit - RESERVED)
