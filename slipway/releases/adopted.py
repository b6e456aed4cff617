"""What an adoption writes down of each version, as a release would have, and taking that back.

Nothing is written into a folder that is served: Triton would load that version again. Its metadata.json is in its
record, until it goes to the archive.
"""

from datetime import UTC, datetime

from blocks.labels import METADATA_FILE
from blocks.registry import RegisteredVersion
from blocks.repository import ModelRepository
from blocks.run import get_flow_run_name
from slipway.releases.attempts import Attempts
from slipway.releases.found_model import FoundVersion
from slipway.releases.journal import close_journal
from slipway.releases.matching import Match
from slipway.releases.metadata import MlflowSection, ModelSection, TritonSection, VersionMetadata
from slipway.releases.plan import ReleasePlan
from slipway.releases.pointer import restore_pointer
from slipway.releases.version_files import record_files


def record_version(
    plan: ReleasePlan,
    found: FoundVersion,
    match: Match,
    registered: RegisteredVersion | None,
    repository: ModelRepository,
) -> None:
    """Record who took a version's number, where the version came from, and its files as they were found."""
    repository.claim(plan.model_name, found.version, plan.flow_run_id)
    metadata = make_metadata(plan, found, match, registered).model_dump_json(indent=2, exclude_unset=True)
    repository.write_record(plan.model_name, found.version, METADATA_FILE, f"{metadata}\n".encode())
    record_files(repository, plan.model_name, found.version)


def make_metadata(
    plan: ReleasePlan, found: FoundVersion, match: Match, registered: RegisteredVersion | None
) -> VersionMetadata:
    """Return the metadata.json of an adopted version; the registry's section says nothing where that knows it not."""
    origin = MlflowSection(model_name=plan.model_name)
    if registered is not None:
        origin = MlflowSection(
            model_name=plan.model_name,
            version=registered.version,
            run_id=registered.run_id,
            run_name=registered.run_name,
            params=registered.params,
            metrics=registered.metrics,
            tags=registered.tags,
        )
    return VersionMetadata(
        mlflow=origin,
        triton=TritonSection(
            version=found.version,
            deployed_by=get_flow_run_name(),
            flow_run_id=plan.flow_run_id,
            adopted_at=datetime.now(UTC).isoformat(),
            matched=match.how,
        ),
        model=ModelSection(sha256=found.sha256),
    )


def undo_adoption(plan: ReleasePlan, repository: ModelRepository) -> None:
    """Leave a model as it was before its adoption was begun: foreign, its config.pbtxt as it was, served as ever.

    No replica is spoken to: what they serve is what both configurations say.
    """
    attempts = Attempts()
    with attempts.trying():
        repository.forget(plan.model_name)
    attempts.raise_first()  # with half of its records, and another policy, it would be taken for slipway's own
    restore_pointer(repository, plan)
    close_journal(repository, plan)
