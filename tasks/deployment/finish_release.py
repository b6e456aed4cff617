"""The end of a release: what is neither live nor previous goes to the archive, the journal is closed."""

from prefect import task
from prefect.cache_policies import NO_CACHE

from blocks.registry import ModelRegistry
from blocks.repository import ModelRepository
from tasks.deployment.fetch_model import FetchedModel, discard_local_files
from tasks.deployment.plan import ReleasePlan, close_release

TRITON_VERSION_TAG = "triton_version"


@task(name="finish-release", task_run_name="finish-release", cache_policy=NO_CACHE)
def finish_release(
    fetched: FetchedModel, plan: ReleasePlan, *, registry: ModelRegistry, repository: ModelRepository
) -> tuple[int, ...]:
    """Close a verified release and return the versions it archived.

    Each version Triton newly loads makes it read the model's whole directory, so only what is served stays there.
    """
    registry.tag_version(plan.model_name, plan.registry_version, {TRITON_VERSION_TAG: str(plan.version)})
    retired = [v for v in repository.versions(plan.model_name).repository if v not in plan.serves]
    for version in retired:
        repository.archive(plan.model_name, version)
    close_release(repository, plan)
    discard_local_files(fetched)
    return tuple(retired)
