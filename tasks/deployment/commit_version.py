"""Between steps 4 and 5, commit-version: the proven version goes where Triton reads, then config.pbtxt names it."""

from prefect import task
from prefect.cache_policies import NO_CACHE

from blocks.repository import ModelRepository
from slipway.releases.artifacts import PreparedArtifacts
from slipway.releases.journal import require_open
from slipway.releases.plan import ReleasePlan
from slipway.releases.pointer import commit_plan
from slipway.releases.version_files import record_files


@task(name="commit-version", task_run_name="commit-version", cache_policy=NO_CACHE)
def commit_version(plan: ReleasePlan, artifacts: PreparedArtifacts, *, repository: ModelRepository) -> str:
    """Commit a version and return its S3 URI: from here on a replica that starts serves it.

    Raises `IntegrityError` where the version is not complete, or its copy is not what was proven, `VersionConflict`
    where config.pbtxt was changed since the plan was made, `ReleaseTakenOver` where another run has settled it.
    """
    require_open(repository, plan)
    for version in plan.serves:
        repository.place(plan.model_name, version)
    record_files(repository, plan.model_name, plan.version)
    require_open(repository, plan)  # copying may have taken minutes
    commit_plan(repository, plan, artifacts.config)
    return repository.uri(plan.model_name, plan.version)
