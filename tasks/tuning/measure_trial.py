"""The step that tuning repeats, measure-trial: one way to serve the model, under load, on a candidate."""

from typing import Annotated

from prefect import task
from prefect.cache_policies import NO_CACHE

from blocks.environment import Environment
from slipway.tuning.ground import Ground
from slipway.tuning.knobs import Knobs
from slipway.tuning.measuring import measure
from slipway.tuning.terms import TuningTerms
from slipway.tuning.trial import Trial
from tasks.policies import FLAT


@task(name="measure-trial", task_run_name="measure-trial: {knobs}", cache_policy=NO_CACHE)
def measure_trial(
    ground: Annotated[Ground, FLAT],
    knobs: Annotated[Knobs, FLAT],
    terms: Annotated[TuningTerms, FLAT],
    clients: int = 1,
    *,
    environment: Environment,
) -> Trial:
    """Return what one way to serve a model gives; its candidate is removed whatever happens."""
    return measure(ground, knobs, terms, clients, environment)
