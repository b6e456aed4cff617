"""Step 6, update-aliases: `live` moves to the released version, `previous` to the one before it."""

from prefect import task
from prefect.cache_policies import NO_CACHE

from blocks.environment import Environment
from blocks.names import ModelName
from slipway.releases.aliases import AliasChange, update
from slipway.releases.plan import ReleasePlan


@task(name="update-aliases", task_run_name="update-aliases", cache_policy=NO_CACHE)
def update_aliases(
    model_name: ModelName,
    registry_version: int,
    plan: ReleasePlan | None = None,
    dry_run: bool = False,
    *,
    environment: Environment,
) -> AliasChange:
    """Point `live` at a version and `previous` at the one that was live, or all aliases where a plan says.

    Running it again changes nothing.
    """
    return update(model_name, registry_version, plan, dry_run=dry_run, environment=environment)
