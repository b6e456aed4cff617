"""Staging a release: its files go where Triton does not read, each proven there."""

import time

from pydantic import BaseModel, ConfigDict, Field

from blocks.checksums import FileDigest
from blocks.environment import Environment
from blocks.labels import METADATA_FILE
from blocks.originals import WORTH_COPYING
from slipway.releases.fetched import ensure_files
from slipway.releases.journal import ensure_open
from slipway.releases.release import Release


class UploadedVersion(BaseModel):
    """A version whose files are complete in the store."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    sent_bytes: int = Field(description="Zero where all was there already, or copied from where MLflow keeps it.")
    duration_s: float


def stage(release: Release, environment: Environment) -> UploadedVersion:
    """Take the version number and put the version's files into staging; what is there already is not sent again.

    Large files that MLflow keeps in the same store are copied there.

    The journal is open before anything else. Raises `IntegrityError` where the store holds something else than was
    sent, `VersionConflict` where another release took the number.
    """
    start = time.perf_counter()
    ensure_open(environment.repository, release.plan)
    sent_bytes = _send(release, environment) if release.plan.creates_version else 0
    return UploadedVersion(sent_bytes=sent_bytes, duration_s=time.perf_counter() - start)


def _send(release: Release, environment: Environment) -> int:
    plan, repository = release.plan, environment.repository
    repository.claim(plan.model_name, plan.version, plan.flow_run_id)
    directory = ensure_files(release.fetched, environment.registry)
    metadata = directory / METADATA_FILE
    metadata.write_text(release.artifacts.metadata)
    # metadata.json comes last: a version that has it is complete.
    files = (*release.fetched.files, FileDigest.of(metadata))
    is_large = any(file.size_bytes >= WORTH_COPYING for file in files)
    kept_at = environment.registry.locate(release.fetched.registered) if is_large else None
    return repository.stage(plan.model_name, plan.version, directory, files, kept_at)
