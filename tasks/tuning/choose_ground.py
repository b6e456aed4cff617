"""The first step of tuning, choose-ground: what is measured, where, and between which values."""

from typing import Annotated

from prefect import task
from prefect.cache_policies import NO_CACHE

from blocks.environment import Environment
from blocks.names import ModelName
from slipway.tuning.ground import Ground
from slipway.tuning.ground import choose_ground as choose
from slipway.tuning.terms import TuningTerms
from tasks.policies import FLAT


@task(name="choose-ground", task_run_name="choose-ground", cache_policy=NO_CACHE)
def choose_ground(
    model_name: ModelName,
    terms: Annotated[TuningTerms, FLAT] = TuningTerms(),  # noqa: B008, a value
    *,
    environment: Environment,
) -> Ground:
    """Return what is tuned and where; candidates that an earlier tuning left are removed.

    Raises `InvalidInput` where nothing is live, or where the replica serves and nobody said that its clients may wait.
    """
    return choose(model_name, terms, environment)
