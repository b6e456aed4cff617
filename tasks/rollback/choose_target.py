"""The first step of a rollback, choose-target: which version it goes back to, and whether it can."""

from prefect import task
from prefect.cache_policies import NO_CACHE

from blocks.environment import Environment
from blocks.names import ModelName, Source
from slipway.releases.plan import KeepArchived, ReleasePlan
from slipway.releases.rollback_plan import plan_rollback


@task(name="choose-target", task_run_name="choose-target", cache_policy=NO_CACHE)
def choose_target(
    model_name: ModelName,
    to: Source = "alias:previous",
    reason: str = "",
    keep_archived: KeepArchived = 5,
    *,
    environment: Environment,
) -> ReleasePlan:
    """Return the plan of a rollback; one that this flow run carried out already has nothing left to do.

    Raises `NoRollbackTarget` where there is no version to go back to, where it was rolled back from itself, or where
    its files are gone.
    """
    return plan_rollback(model_name, to, reason=reason, keep_archived=keep_archived, environment=environment)
