"""The end of a release: it is marked as proven, then tidied up; what this run does not do, the next one does."""

from blocks.environment import Environment
from blocks.errors import IntegrityError
from blocks.events import Happened, tell
from blocks.labels import (
    LAST_ROLLBACK_TAG,
    LIVE,
    ROLLED_BACK_AT_TAG,
    ROLLED_BACK_TAG,
    TRITON_VERSION_TAG,
    WITHDRAWN_AT_TAG,
)
from blocks.registry import ModelRegistry
from blocks.repository import ModelRepository
from blocks.run import warn
from slipway.releases.aliases import bring_aliases
from slipway.releases.attempts import Attempts
from slipway.releases.dependencies import align_dependents
from slipway.releases.fetched import FetchedModel
from slipway.releases.journal import Proven, close_journal, mark_proven
from slipway.releases.kept_settings import take_back
from slipway.releases.marks import NO_REASON, Mark, write_mark
from slipway.releases.metadata import read_metadata
from slipway.releases.plan import ReleasePlan
from slipway.releases.proven_candidate import ProvenCandidate
from slipway.releases.receipt import (
    Receipt,
    ReplicaReceipt,
    make_receipt,
    read_receipt,
    record_receipt,
    renew_receipt,
    tag_receipt,
)
from slipway.releases.replicas import LoadedReplica
from slipway.releases.retention import archive_retired, discard_superfluous
from slipway.releases.switch import time_replicas
from slipway.releases.verification import VerifiedReplica
from slipway.releases.version_files import find_changes

_FINISHED = {
    "release": Happened.RELEASE_FINISHED,
    "rollback": Happened.ROLLBACK_FINISHED,
    "withdrawal": Happened.WITHDRAWAL_FINISHED,
    "adoption": Happened.ADOPTION_FINISHED,
}


def finish(
    plan: ReleasePlan,
    fetched: FetchedModel,
    candidate: ProvenCandidate,
    loaded: tuple[LoadedReplica, ...],
    verified: tuple[VerifiedReplica, ...],
    *,
    approval: str | None,
    environment: Environment,
) -> Receipt:
    """Close a verified release: receipt and tags written, what is not served archived, old archives removed.

    The files are compared with what was committed once more: what the replicas loaded in between is the same.
    Each version Triton newly loads makes it read the model's whole directory, so only what is served stays there.
    """
    repository = environment.repository
    if changes := find_changes(repository, plan.model_name, plan.version):
        raise IntegrityError(f"{repository.store.address}: {'; '.join(changes)} while it was loaded; release it again")
    left = _find_silent(verified, environment)
    receipt = make_receipt(plan, fetched, candidate, loaded, verified, approval=approval, left_to_reconcile=left)
    complete(mark_proven(repository, plan, receipt), environment)
    return receipt


def finish_switch(plan: ReleasePlan, replicas: tuple[ReplicaReceipt, ...], environment: Environment) -> Receipt:
    """Close a rollback that every replica has proven; how fast they answer is measured when nobody waits for it."""
    receipt = renew_receipt(plan, replicas, environment.fleet.list_addresses(), environment.repository)
    proven = mark_proven(environment.repository, plan, receipt)
    receipt = time_replicas(receipt, plan, environment)
    complete(proven.model_copy(update={"receipt": receipt}), environment)
    return receipt


def complete(proven: Proven, environment: Environment) -> None:
    """Do what is left to do for a proven release; doing it again changes nothing.

    Every step is tried. What the registry no longer has is reported and skipped; where it, or the store, does not
    answer, the first error is raised in the end and the journal stays open for whoever comes next.
    """
    plan, receipt = proven.plan, proven.receipt
    registry, repository = environment.registry, environment.repository
    attempts = Attempts()
    with attempts.trying():
        record_receipt(receipt, repository)
    with attempts.trying():
        _mark_version_left(plan, receipt, repository)
    with attempts.trying():
        take_back(plan, repository)
    with attempts.trying():
        align_dependents(plan.model_name, repository)
    with attempts.trying():
        archive_retired(plan.model_name, repository)
    with attempts.trying():
        repository.clear_staging(plan.model_name)
    with attempts.trying():
        bring_aliases(registry, repository, plan.model_name, plan.aliases_after)
    with attempts.trying():
        tag_receipt(receipt, registry)
    with attempts.trying():
        _tag_versions(plan, receipt, registry, repository)
    with attempts.trying():
        if plan.kind != "adoption":  # what somebody kept is not the first thing to delete
            discard_superfluous(plan.model_name, plan.keep_archived, registry, repository)
    attempts.raise_first()
    close_journal(repository, plan)
    tell(_FINISHED[plan.kind], plan.model_name, version=plan.registry_version, triton_version=plan.version)


def _find_silent(verified: tuple[VerifiedReplica, ...], environment: Environment) -> tuple[str, ...]:
    """Return the replicas that were passed over, since they did not answer, and say so."""
    proven = {replica.address for replica in verified}
    left = tuple(address for address in environment.fleet.list_addresses() if address not in proven)
    if left:
        warn(f"left to reconcile-models, since they do not answer: {', '.join(left)}")
    return left


def _mark_version_left(plan: ReleasePlan, receipt: Receipt, repository: ModelRepository) -> None:
    if plan.kind == "rollback" and plan.live_before is not None:
        mark = Mark(reason=plan.reason or NO_REASON, at=receipt.live_since, flow_run_id=plan.flow_run_id)
        write_mark(repository, plan.model_name, plan.live_before, mark)


def _tag_versions(plan: ReleasePlan, receipt: Receipt, registry: ModelRegistry, repository: ModelRepository) -> None:
    if plan.kind == "adoption":
        _tag_adopted(plan, registry, repository)
        return
    if plan.registry_version > 0:
        registry.tag_version(plan.model_name, plan.registry_version, {TRITON_VERSION_TAG: str(plan.version)})
    if plan.kind == "release":
        registry.untag_version(
            plan.model_name, plan.registry_version, (ROLLED_BACK_TAG, ROLLED_BACK_AT_TAG, WITHDRAWN_AT_TAG)
        )
        return
    left = plan.aliases_before.get(LIVE)
    if plan.live_before is not None:
        left = read_metadata(plan.model_name, plan.live_before, repository).registry_version or left
    registry.tag_model(plan.model_name, {LAST_ROLLBACK_TAG: plan.flow_run_id})
    if left is not None and left != plan.registry_version:  # which with other settings is served on
        reason = {ROLLED_BACK_TAG: plan.reason or NO_REASON, ROLLED_BACK_AT_TAG: receipt.live_since.isoformat()}
        registry.tag_version(plan.model_name, left, reason)


def _tag_adopted(plan: ReleasePlan, registry: ModelRegistry, repository: ModelRepository) -> None:
    """Write on each version that the registry knows its number in Triton, the highest where it lies there twice."""
    highest = {registered: version for version, registered in sorted(plan.adopts.items())}
    for registered, version in highest.items():
        registry.tag_version(plan.model_name, registered, {TRITON_VERSION_TAG: str(version)})
        if (receipt := read_receipt(repository, plan.model_name, version)) is not None:
            tag_receipt(receipt, registry)
