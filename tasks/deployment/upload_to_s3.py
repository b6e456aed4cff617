"""Step 4, upload-to-s3: the version's files by way of staging, then config.pbtxt, which commits them."""

import time

from prefect import task
from prefect.cache_policies import NO_CACHE
from pydantic import BaseModel, ConfigDict, Field

from blocks.object_store import FileDigest
from blocks.registry import ModelRegistry
from blocks.repository import ModelRepository
from tasks.deployment.fetch_model import FetchedModel, local_files
from tasks.deployment.plan import ReleasePlan, open_release
from tasks.deployment.prepare_artifacts import METADATA_FILE, PreparedArtifacts


class UploadedVersion(BaseModel):
    """A version that is complete in the repository and committed."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    uri: str
    sent_bytes: int = Field(description="Zero where all was there already.")
    duration_s: float


@task(name="upload-to-s3", task_run_name="upload-to-s3", cache_policy=NO_CACHE)
def upload_to_s3(
    fetched: FetchedModel,
    plan: ReleasePlan,
    artifacts: PreparedArtifacts,
    *,
    registry: ModelRegistry,
    repository: ModelRepository,
) -> UploadedVersion:
    """Put a version into the repository and commit it; what is there already is not sent again.

    The journal is written before anything else. Raises `IntegrityError` where the store holds something else than
    was sent; nothing is committed then.
    """
    start = time.perf_counter()
    open_release(repository, plan)
    sent_bytes = _publish(fetched, plan, artifacts, registry, repository) if plan.creates_version else 0
    if plan.version in repository.versions(plan.model_name).archive:
        repository.unarchive(plan.model_name, plan.version)
    repository.commit(plan.model_name, artifacts.config)
    return UploadedVersion(
        uri=repository.uri(plan.model_name, plan.version),
        sent_bytes=sent_bytes,
        duration_s=time.perf_counter() - start,
    )


def _publish(
    fetched: FetchedModel,
    plan: ReleasePlan,
    artifacts: PreparedArtifacts,
    registry: ModelRegistry,
    repository: ModelRepository,
) -> int:
    directory = local_files(fetched, registry)
    metadata = directory / METADATA_FILE
    metadata.write_text(artifacts.metadata)
    # metadata.json comes last: a version that has it is complete.
    return repository.publish(plan.model_name, plan.version, directory, (*fetched.files, FileDigest.of(metadata)))
