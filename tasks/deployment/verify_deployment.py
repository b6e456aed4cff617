"""Step 7, verify-deployment: every replica answers as the proven model did, asked for exactly this version."""

from typing import Annotated

from prefect import task
from prefect.cache_policies import NO_CACHE

from blocks.environment import Environment
from slipway.releases.fetched import FetchedModel
from slipway.releases.release import Terms
from slipway.releases.verification import VerifiedReplica, verify
from tasks.policies import FLAT, WHILE_A_REPLICA_RESTARTS


@task(name="verify-deployment", task_run_name="verify-deployment", cache_policy=NO_CACHE, **WHILE_A_REPLICA_RESTARTS)
def verify_deployment(
    fetched: FetchedModel,
    version: int,
    terms: Annotated[Terms, FLAT] = Terms(),  # noqa: B008, a value
    *,
    environment: Environment,
) -> tuple[VerifiedReplica, ...]:
    """Ask every replica for the golden samples, for synthetic inputs, and who answers unversioned requests.

    Raises `VerificationFailed` where a shape, a data type or a value is not what the proven model gives.
    """
    return verify(fetched, version, terms, environment)
