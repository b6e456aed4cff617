"""Before step 1, answer-update: an alias is looked up once, and answered once, before anything can fail."""

from prefect import task
from prefect.cache_policies import NO_CACHE

from blocks.environment import Environment
from blocks.moments import Moment
from blocks.names import ModelName, Source
from slipway.releases.answering import Answer, answer


@task(name="answer-update", task_run_name="answer-update", cache_policy=NO_CACHE)
def answer_update(
    model_name: ModelName,
    source: Source,
    alias_set_at: Moment | None = None,
    dry_run: bool = False,
    *,
    environment: Environment,
) -> Answer:
    """Return the version a source names, and why nothing is to be released for it, if that is so.

    What another run left of the model is settled first, but for a dry run.
    """
    return answer(model_name, source, alias_set_at, dry_run=dry_run, environment=environment)
