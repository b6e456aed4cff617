"""The second step of reconciling, repair-model: what is safe to put right is put right, the rest is for people."""

from prefect import task
from prefect.cache_policies import NO_CACHE

from blocks.environment import Environment
from slipway.releases.repair import repair
from slipway.releases.survey import ModelState


@task(name="repair-model", task_run_name="repair-model", cache_policy=NO_CACHE)
def repair_model(state: ModelState, keep_archived: int = 5, *, environment: Environment) -> None:
    """Repair what of a model's drift is safe to repair; the model's lock has to be held.

    Raises what a replica or a store answers that cannot be brought back; what was repaired before stays repaired.
    """
    repair(state, keep_archived=keep_archived, environment=environment)
