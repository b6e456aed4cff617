"""Step 4, upload-to-s3: the version's files go to staging, each proven there; Triton does not read them yet."""

import time

from prefect import task
from prefect.cache_policies import NO_CACHE
from pydantic import BaseModel, ConfigDict, Field

from blocks.checksums import FileDigest
from blocks.registry import ModelRegistry
from blocks.repository import METADATA_FILE, ModelRepository
from slipway.releases.artifacts import PreparedArtifacts
from slipway.releases.fetching import FetchedModel, local_files
from slipway.releases.journal import open_journal
from slipway.releases.plan import ReleasePlan


class UploadedVersion(BaseModel):
    """A version whose files are complete in the store."""

    model_config = ConfigDict(frozen=True, extra="forbid")

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
    """Take the version number and put the version's files into staging; what is there already is not sent again.

    The journal is written before anything else. Raises `IntegrityError` where the store holds something else than
    was sent, `VersionConflict` where another release took the number.
    """
    start = time.perf_counter()
    open_journal(repository, plan)
    sent_bytes = _stage(fetched, plan, artifacts, registry, repository) if plan.creates_version else 0
    return UploadedVersion(sent_bytes=sent_bytes, duration_s=time.perf_counter() - start)


def _stage(
    fetched: FetchedModel,
    plan: ReleasePlan,
    artifacts: PreparedArtifacts,
    registry: ModelRegistry,
    repository: ModelRepository,
) -> int:
    repository.claim(plan.model_name, plan.version, plan.flow_run_id)
    directory = local_files(fetched, registry)
    metadata = directory / METADATA_FILE
    metadata.write_text(artifacts.metadata)
    # metadata.json comes last: a version that has it is complete.
    return repository.stage(plan.model_name, plan.version, directory, (*fetched.files, FileDigest.of(metadata)))
