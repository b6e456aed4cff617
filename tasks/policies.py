"""What the steps of every flow share: when Prefect tries one again, and which results it finds again."""

from typing import Any, TypedDict

from prefect import Task
from prefect.cache_policies import INPUTS, RUN_ID, TASK_SOURCE
from prefect.client.schemas import TaskRun
from prefect.client.schemas.objects import State

from blocks.errors import ReplicaLost

FLAT = "flat"  # marks a parameter whose fields are options of their own where the step is run from a shell
# The addresses and passwords of the registry and the checkpoints say nothing about what a step computed.
PER_RUN = (INPUTS + RUN_ID + TASK_SOURCE) - "registry" - "checkpoints"


class Retries(TypedDict):
    """What `prefect.task` takes."""

    retries: int
    retry_delay_seconds: list[float]
    retry_condition_fn: Any


def lost_a_replica(_task: Task[..., Any], _run: TaskRun, state: State[Any]) -> bool:
    """Tell whether a step failed since a replica went away: evicted, out of memory, crashed, restarted."""
    return isinstance(state.data, ReplicaLost)


# A replica that hangs, refuses a load or answers wrongly is not waited for. Neither is one that ends while it has a
# candidate, which may be what ended it.
WHILE_A_REPLICA_RESTARTS = Retries(retries=4, retry_delay_seconds=[5, 10, 15, 30], retry_condition_fn=lost_a_replica)
