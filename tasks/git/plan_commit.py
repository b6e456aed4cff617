"""The first step of a deployment by Git, plan-commit: which version, over which one, on which line."""

from prefect import task
from prefect.cache_policies import NO_CACHE

from blocks.names import ModelName, Source
from blocks.registry import ModelRegistry
from slipway.releases import git_planning
from slipway.releases.git_planning import GitPlan
from slipway.releases.git_pointer import GitRecord


@task(name="plan-commit", task_run_name="plan-commit", cache_policy=NO_CACHE)
def plan_commit(
    model_name: ModelName, source: Source, record: GitRecord, served_as: str | None = None, *, registry: ModelRegistry
) -> GitPlan:
    """Return what is to be committed; nothing is changed.

    Raises `NotRegistered` where the registry has no such version, `InvalidInput` where it is older than what is
    committed and `source` does not name it itself, or the file says nothing clear of the model.
    """
    with record.open_pointer(model_name) as pointer:
        return git_planning.plan_commit(pointer, registry, source=source, served_as=served_as)
