"""The end of a release: it is marked as proven, then tidied up, which whoever comes next does where it did not."""

from prefect import task
from prefect.cache_policies import NO_CACHE

from blocks.errors import IntegrityError
from blocks.registry import ModelRegistry
from blocks.repository import ModelRepository
from tasks.deployment.attempts import Attempts
from tasks.deployment.fetch_model import FetchedModel
from tasks.deployment.journal import Journal, mark_proven
from tasks.deployment.metadata import registry_version
from tasks.deployment.plan import ReleasePlan
from tasks.deployment.prove_candidate import ProvenCandidate
from tasks.deployment.receipt import Receipt, make_out, record_receipt, tag_receipt
from tasks.deployment.reload_triton import LoadedReplica
from tasks.deployment.verify_deployment import VerifiedReplica
from tasks.deployment.version_files import changed_files
from tasks.events import Happened, tell

TRITON_VERSION_TAG = "triton_version"
ROLLED_BACK_TAG, ROLLED_BACK_AT_TAG = "rolled_back", "rolled_back_at"
LAST_ROLLBACK_TAG = "last_rollback"


@task(name="finish-release", task_run_name="finish-release", cache_policy=NO_CACHE)
def finish_release(
    plan: ReleasePlan,
    fetched: FetchedModel,
    candidate: ProvenCandidate,
    loaded: tuple[LoadedReplica, ...],
    verified: tuple[VerifiedReplica, ...],
    approval: str | None = None,
    left_to_reconcile: tuple[str, ...] = (),
    *,
    registry: ModelRegistry,
    repository: ModelRepository,
) -> Receipt:
    """Close a verified release: receipt and tags written, what is not served archived, old archives removed.

    The files are compared with what was committed once more: what the replicas loaded in between is the same.
    Each version Triton newly loads makes it read the model's whole directory, so only what is served stays there.
    """
    changed = changed_files(repository, plan.model_name, plan.version)
    if changed:
        raise IntegrityError(f"{repository.store.address}: {'; '.join(changed)} while it was loaded; release it again")
    receipt = make_out(
        plan, fetched, candidate, loaded, verified, approval=approval, left_to_reconcile=left_to_reconcile
    )
    complete(mark_proven(repository, plan, receipt), registry, repository)
    return receipt


def complete(journal: Journal, registry: ModelRegistry, repository: ModelRepository) -> None:
    """Do what is left to do for a proven release; doing it again changes nothing.

    Every step is tried. What the registry no longer has is reported and skipped; where it, or the store, does not
    answer, the first error is raised in the end and the journal stays open for whoever comes next.
    """
    plan, receipt = journal.plan, journal.receipt
    if receipt is None:
        raise ValueError(f"model '{plan.model_name}': only a proven release can be completed")
    attempts = Attempts()
    with attempts.trying():
        record_receipt(receipt, repository)
    with attempts.trying():
        tag_receipt(receipt, registry)
    with attempts.trying():
        _tag(plan, receipt, registry)
    with attempts.trying():
        archive_retired(plan.model_name, plan.serves, repository)
    with attempts.trying():
        discard_superfluous(plan.model_name, plan.keep_archived, plan.aliases_after, registry, repository)
    with attempts.trying():
        repository.clear_staging(plan.model_name)
    attempts.raise_first()
    repository.close_journal(plan.model_name)
    finished = Happened.RELEASE_FINISHED if plan.kind == "release" else Happened.ROLLBACK_FINISHED
    tell(finished, plan.model_name, version=plan.registry_version, triton_version=plan.version)


def archive_retired(model_name: str, serves: tuple[int, ...], repository: ModelRepository) -> tuple[int, ...]:
    """Move every version that slipway released and that is not served out of Triton's sight and return them."""
    ours = repository.recorded_versions(model_name)
    stored = repository.versions(model_name).repository
    retired = tuple(version for version in stored if version in ours and version not in serves)
    for version in retired:
        repository.archive(model_name, version)
    return retired


def discard_superfluous(
    model_name: str, keep: int, aliases: dict[str, int], registry: ModelRegistry, repository: ModelRepository
) -> None:
    """Delete what retention removes of the archive."""
    for version in superfluous_archives(model_name, keep, aliases, registry, repository):
        repository.discard_archived(model_name, version)


def superfluous_archives(
    model_name: str, keep: int, aliases: dict[str, int], registry: ModelRegistry, repository: ModelRepository
) -> tuple[int, ...]:
    """Return the archived versions that retention removes.

    The newest `keep` stay, those that were rolled back from after all others, and any whose MLflow version has an
    alias.
    """
    ours = repository.recorded_versions(model_name)
    archived = tuple(version for version in repository.versions(model_name).archive if version in ours)
    if len(archived) <= keep:
        return ()
    marked = {tags.get(TRITON_VERSION_TAG) for _, tags in registry.versions(model_name) if ROLLED_BACK_TAG in tags}
    by_worth = sorted(archived, key=lambda version: (str(version) not in marked, version), reverse=True)
    superfluous = by_worth[keep:]
    return tuple(v for v in superfluous if registry_version(model_name, v, repository) not in aliases.values())


def _tag(plan: ReleasePlan, receipt: Receipt, registry: ModelRegistry) -> None:
    registry.tag_version(plan.model_name, plan.registry_version, {TRITON_VERSION_TAG: str(plan.version)})
    if plan.kind == "release":
        registry.untag_version(plan.model_name, plan.registry_version, (ROLLED_BACK_TAG, ROLLED_BACK_AT_TAG))
        return
    registry.tag_model(plan.model_name, {LAST_ROLLBACK_TAG: plan.flow_run_id})
    left = plan.aliases_before.get("live")
    if left is None:
        return
    reason = {ROLLED_BACK_TAG: plan.reason or "no reason given", ROLLED_BACK_AT_TAG: receipt.live_since.isoformat()}
    registry.tag_version(plan.model_name, left, reason)
