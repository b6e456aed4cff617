"""Step 5, reload-triton: every replica loads what was committed and proves it; the first alone, then in waves."""

from typing import Annotated

from prefect import task
from prefect.cache_policies import NO_CACHE

from blocks.environment import Environment
from blocks.names import ModelName
from slipway.releases.release import Terms
from slipway.releases.replicas import LoadedReplica, reload_all
from tasks.policies import FLAT, WHILE_A_REPLICA_RESTARTS


@task(name="reload-triton", task_run_name="reload-triton", cache_policy=NO_CACHE, **WHILE_A_REPLICA_RESTARTS)
def reload_triton(
    model_name: ModelName,
    serves: tuple[int, ...],
    terms: Annotated[Terms, FLAT] = Terms(),  # noqa: B008, a value
    *,
    environment: Environment,
) -> tuple[LoadedReplica, ...]:
    """Load a model on every replica, in waves, each replica proven by an inference before the next wave begins.

    A replica that restarts meanwhile is waited for, about a minute. Raises `LoadFailed` where a replica refuses or
    serves something else, `VerificationFailed` where its answers are not the proven ones.
    """
    return reload_all(model_name, serves, terms, environment)
