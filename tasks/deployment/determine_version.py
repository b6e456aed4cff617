"""Step 2, determine-version: the number a release gets in the model repository, and all that was before it."""

from prefect import task
from prefect.cache_policies import NO_CACHE

from blocks.environment import Environment
from slipway.releases.fetched import FetchedModel
from slipway.releases.plan import AlsoServe, ForcedVersion, KeepArchived, KeepServed, ReleasePlan
from slipway.releases.planning import plan_release


@task(name="determine-version", task_run_name="determine-version", cache_policy=NO_CACHE)
def determine_version(
    fetched: FetchedModel,
    force_version: ForcedVersion = None,
    keep_archived: KeepArchived = 5,
    leave_silent: bool = False,
    keep_served: KeepServed = 2,
    also_serve: AlsoServe = (),
    *,
    environment: Environment,
) -> ReleasePlan:
    """Return the plan of a release: the next version number, or the forced one, and the state before."""
    return plan_release(
        fetched,
        force_version=force_version,
        keep_archived=keep_archived,
        leave_silent=leave_silent,
        keep_served=keep_served,
        also_serve=also_serve,
        environment=environment,
    )
