"""In place of what is left of a broken release, settle-release: what is proven is finished, everything else undone."""

from prefect import task
from prefect.cache_policies import NO_CACHE

from blocks.environment import Environment
from blocks.names import ModelName
from slipway.releases.journal import Journal
from slipway.releases.settlement import settle


@task(name="settle-release", task_run_name="settle-release", cache_policy=NO_CACHE)
def settle_release(
    model_name: ModelName, only_flow_run_id: str | None = None, *, environment: Environment
) -> Journal | None:
    """Finish or undo a model's open release and return its journal, None where there was nothing to settle.

    Settling twice, or after a failure half way, does no harm.
    """
    return settle(model_name, environment, only_flow_run_id)
