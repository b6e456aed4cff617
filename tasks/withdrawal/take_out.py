"""The second step of a withdrawal, take-out: off every replica, into the archive, its aliases removed."""

from prefect import task
from prefect.cache_policies import NO_CACHE

from blocks.environment import Environment
from slipway.releases.plan import ReleasePlan
from slipway.releases.withdrawal import carry_out
from slipway.releases.withdrawn import Withdrawn


@task(name="take-out", task_run_name="take-out", cache_policy=NO_CACHE)
def take_out(plan: ReleasePlan, *, environment: Environment) -> Withdrawn:
    """Take a model out of service; whatever stops this run, whoever comes next finishes it."""
    return carry_out(plan, environment)
