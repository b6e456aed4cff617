"""The end of a release: it is marked as proven, then tidied up; what this run does not do, the next one does."""

from prefect import task
from prefect.cache_policies import NO_CACHE

from blocks.errors import IntegrityError, NotRegistered
from blocks.events import Happened, tell
from blocks.registry import ModelRegistry
from blocks.repository import ModelRepository
from slipway.releases.aliases import LIVE, bring_aliases
from slipway.releases.attempts import Attempts
from slipway.releases.candidate import ProvenCandidate
from slipway.releases.fetching import FetchedModel
from slipway.releases.journal import Journal, close_journal, mark_proven
from slipway.releases.marks import Mark, read_mark, write_mark
from slipway.releases.metadata import registry_version
from slipway.releases.plan import ReleasePlan
from slipway.releases.pointer import committed_versions
from slipway.releases.receipt import Receipt, make_out, record_receipt, tag_receipt
from slipway.releases.replicas import LoadedReplica
from slipway.releases.verification import VerifiedReplica
from slipway.releases.version_files import changed_files

TRITON_VERSION_TAG = "triton_version"
ROLLED_BACK_TAG, ROLLED_BACK_AT_TAG = "rolled_back", "rolled_back_at"
LAST_ROLLBACK_TAG = "last_rollback"
NO_REASON = "no reason given"


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
        _mark_version_left(plan, receipt, repository)
    with attempts.trying():
        archive_retired(plan.model_name, repository)
    with attempts.trying():
        repository.clear_staging(plan.model_name)
    with attempts.trying():
        bring_aliases(registry, repository, plan.model_name, plan.aliases_after)
    with attempts.trying():
        tag_receipt(receipt, registry)
    with attempts.trying():
        _tag(plan, receipt, registry, repository)
    with attempts.trying():
        discard_superfluous(plan.model_name, plan.keep_archived, registry, repository)
    attempts.raise_first()
    close_journal(repository, plan)
    finished = Happened.RELEASE_FINISHED if plan.kind == "release" else Happened.ROLLBACK_FINISHED
    tell(finished, plan.model_name, version=plan.registry_version, triton_version=plan.version)


def archive_retired(model_name: str, repository: ModelRepository) -> tuple[int, ...]:
    """Move every version that slipway released and the policy of now does not name out of Triton's sight.

    Where nothing is committed nothing is moved. Returns the versions moved.
    """
    committed, ours = committed_versions(repository, model_name), repository.recorded_versions(model_name)
    stored = repository.versions(model_name).repository if committed else ()
    retired = tuple(version for version in stored if version not in committed and version in ours)
    for version in retired:
        repository.archive(model_name, version)
    return retired


def discard_superfluous(model_name: str, keep: int, registry: ModelRegistry, repository: ModelRepository) -> None:
    """Delete what retention removes of the archive."""
    for version in superfluous_archives(model_name, keep, registry, repository):
        repository.discard_archived(model_name, version)


def superfluous_archives(
    model_name: str, keep: int, registry: ModelRegistry, repository: ModelRepository
) -> tuple[int, ...]:
    """Return the archived versions that retention removes, none where the registry does not know the model.

    The newest `keep` stay, those that were rolled back from after all others, and any whose MLflow version has an
    alias.
    """
    ours = repository.recorded_versions(model_name)
    archived = [version for version in repository.versions(model_name).archive if version in ours]
    if len(archived) <= keep:
        return ()
    try:
        aliases = registry.aliases(model_name)
        tagged = {tags.get(TRITON_VERSION_TAG) for _, tags in registry.versions(model_name) if ROLLED_BACK_TAG in tags}
    except NotRegistered:
        return ()
    marked = {v for v in archived if str(v) in tagged or read_mark(repository, model_name, v) is not None}
    by_worth = sorted(archived, key=lambda version: (version not in marked, version), reverse=True)
    superfluous = by_worth[keep:]
    return tuple(v for v in superfluous if registry_version(model_name, v, repository) not in aliases.values())


def _mark_version_left(plan: ReleasePlan, receipt: Receipt, repository: ModelRepository) -> None:
    if plan.kind == "rollback" and plan.live_before is not None:
        mark = Mark(reason=plan.reason or NO_REASON, at=receipt.live_since, flow_run_id=plan.flow_run_id)
        write_mark(repository, plan.model_name, plan.live_before, mark)


def _tag(plan: ReleasePlan, receipt: Receipt, registry: ModelRegistry, repository: ModelRepository) -> None:
    registry.tag_version(plan.model_name, plan.registry_version, {TRITON_VERSION_TAG: str(plan.version)})
    if plan.kind == "release":
        registry.untag_version(plan.model_name, plan.registry_version, (ROLLED_BACK_TAG, ROLLED_BACK_AT_TAG))
        return
    left = plan.aliases_before.get(LIVE)
    if plan.live_before is not None:
        left = registry_version(plan.model_name, plan.live_before, repository) or left
    registry.tag_model(plan.model_name, {LAST_ROLLBACK_TAG: plan.flow_run_id})
    if left is not None:
        reason = {ROLLED_BACK_TAG: plan.reason or NO_REASON, ROLLED_BACK_AT_TAG: receipt.live_since.isoformat()}
        registry.tag_version(plan.model_name, left, reason)
