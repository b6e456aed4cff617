"""The first step of a withdrawal, choose-withdrawal: what is taken out of service, and whether it may be."""

from prefect import task
from prefect.cache_policies import NO_CACHE

from blocks.environment import Environment
from blocks.names import ModelName
from slipway.releases.plan import ReleasePlan
from slipway.releases.withdrawal import plan_withdrawal


@task(name="choose-withdrawal", task_run_name="choose-withdrawal", cache_policy=NO_CACHE)
def choose_withdrawal(
    model_name: ModelName,
    force: bool = False,
    reason: str = "",
    leave_silent: bool = False,
    *,
    environment: Environment,
) -> ReleasePlan | None:
    """Return the plan of taking a model out of service, None where nothing of it is in service any more.

    Raises `InvalidInput` where it is live and `force` is not given, or where an ensemble calls it, `ForeignModel` where
    slipway has no record of it.
    """
    return plan_withdrawal(model_name, force=force, reason=reason, leave_silent=leave_silent, environment=environment)
