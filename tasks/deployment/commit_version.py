"""Between steps 4 and 5, commit-version: the proven version goes where Triton reads, then config.pbtxt names it."""

from prefect import task
from prefect.cache_policies import NO_CACHE

from blocks.environment import Environment
from slipway.releases.committing import commit
from slipway.releases.plan import ReleasePlan


@task(name="commit-version", task_run_name="commit-version", cache_policy=NO_CACHE)
def commit_version(plan: ReleasePlan, *, environment: Environment) -> str:
    """Commit a version and return its S3 URI: from here on a replica that starts serves it, as it was proven.

    Raises `InvalidInput` where it was never proven, `IntegrityError` where the version is not complete, or its copy is
    not what was proven, `VersionConflict` where config.pbtxt was changed since the plan was made, `ReleaseTakenOver`
    where another run has settled it.
    """
    return commit(plan, environment.repository)
