"""The one step of the poll, find-missed-updates: what an alias asks for and nobody has answered."""

from prefect import task
from prefect.cache_policies import NO_CACHE

from blocks.registry import ModelRegistry
from slipway.releases.alias_update import AliasUpdate
from slipway.releases.missed_updates import find_missed


@task(name="find-missed-updates", task_run_name="find-missed-updates", cache_policy=NO_CACHE)
def find_missed_updates(*, registry: ModelRegistry) -> tuple[AliasUpdate, ...]:
    """Return an update for each version that carries `deploy`, is not live, and whose alias no run has answered."""
    return tuple(find_missed(registry))
