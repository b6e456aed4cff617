"""A release's patience with a replica that restarts: the steps that only state what is to be begin again."""

from typing import Any, TypedDict

from prefect import Task
from prefect.client.schemas import TaskRun
from prefect.client.schemas.objects import State

from blocks.errors import ReplicaLost


class Retries(TypedDict):
    """What `prefect.task` takes."""

    retries: int
    retry_delay_seconds: list[float]
    retry_condition_fn: Any


def lost_a_replica(_task: Task[..., Any], _run: TaskRun, state: State[Any]) -> bool:
    """Tell whether a step failed since a replica went away: evicted, out of memory, crashed, restarted."""
    return isinstance(state.data, ReplicaLost)


# One that hangs, refuses a load or answers wrongly is not waited for, nor is a candidate's: it may be what ended it.
WHILE_A_REPLICA_RESTARTS = Retries(retries=4, retry_delay_seconds=[5, 10, 15, 30], retry_condition_fn=lost_a_replica)
