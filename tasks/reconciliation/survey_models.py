"""The first step of reconciling, survey-models: what is, beside what ought to be."""

from prefect import task
from prefect.cache_policies import NO_CACHE

from blocks.environment import Environment
from blocks.names import ModelName
from slipway.releases.survey import Depth, ModelState, survey


@task(name="survey-models", task_run_name="survey-models", cache_policy=NO_CACHE)
def survey_models(
    model_names: tuple[ModelName, ...] | None = None,
    depth: Depth = Depth(),  # noqa: B008, a value
    *,
    environment: Environment,
) -> tuple[ModelState, ...]:
    """Return the state of the named models, of all where none are named; nothing is changed."""
    return survey(model_names, environment, depth)
