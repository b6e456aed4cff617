"""Committing a version: its files go where Triton reads, then config.pbtxt names it."""

from blocks.repository import ModelRepository
from slipway.releases.journal import require_open
from slipway.releases.plan import ReleasePlan
from slipway.releases.pointer import commit_plan
from slipway.releases.proven_config import read_proven_config
from slipway.releases.retention import archive_retired
from slipway.releases.serving_config import apply_policy
from slipway.releases.version_files import record_files


def commit(plan: ReleasePlan, repository: ModelRepository) -> str:
    """Commit a version and return its S3 URI: from here on a replica that starts serves it, as it was proven.

    To load one version Triton fetches the model's whole directory, so that what is served no more goes before replicas
    load; where they read the files in place it goes when the last of them has loaded. An undo brings it back.

    Raises `InvalidInput` where it was never proven, `IntegrityError` where the version is not complete, or its copy is
    not what was proven, `VersionConflict` where config.pbtxt was changed since the plan was made, `ReleaseTakenOver`
    where another run has settled it.
    """
    require_open(repository, plan)
    config = read_proven_config(repository, plan.model_name, plan.version)
    for version in plan.serves:
        repository.place(plan.model_name, version)
    record_files(repository, plan.model_name, plan.version)
    repository.share(plan.model_name, plan.version)
    require_open(repository, plan)  # copying may have taken minutes
    commit_plan(repository, plan, apply_policy(config, plan.serves))
    if not repository.store.read_in_place:
        archive_retired(plan.model_name, repository)
    return repository.uri(plan.model_name, plan.version)
