"""A model that is taken out of service: on no replica, its versions in the archive, its records kept.

Once begun, it is finished, by the run that began it, the next one or the reconciler: every step says what is to be.
"""

import time
from datetime import UTC, datetime

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from blocks.environment import Environment
from blocks.errors import LoadFailed, VersionConflict
from blocks.events import Happened, tell
from blocks.labels import CONFIG_FILE, DEPLOY, WITHDRAWN_AT_TAG, WITHDRAWN_FILE
from blocks.registry import ModelRegistry
from blocks.repository import ModelRepository
from blocks.repository_layout import BESIDE
from blocks.run import warn
from slipway.releases.aliases import bring_aliases
from slipway.releases.attempts import Attempts
from slipway.releases.candidate import find_candidates, remove_candidate
from slipway.releases.dependencies import align_dependents
from slipway.releases.journal import close_journal
from slipway.releases.plan import ReleasePlan
from slipway.releases.receipt import ReplicaReceipt, record_receipt, renew_receipt
from slipway.releases.replicas import bring_to
from slipway.releases.waves import act_together


class Withdrawn(BaseModel):
    """Why and when a model was taken out of service, and what it served until then."""

    model_config = ConfigDict(frozen=True, extra="ignore", protected_namespaces=())

    model_name: str
    at: datetime
    flow_run_id: str
    reason: str | None = None
    registry_version: int = Field(description="The version that was live; below 0 where the registry knew it not.")
    served: tuple[int, ...] = Field(description="Triton versions that were served, the last one live.")
    aliases: dict[str, int] = Field(default={}, description="Aliases that were removed.")
    left_to_reconcile: tuple[str, ...] = Field(default=(), description="Replicas that did not answer.")


def read_withdrawn(repository: ModelRepository, model_name: str) -> Withdrawn | None:
    """Return why and when a model was last taken out of service, None where it never was, or nobody can read that."""
    content = repository.read_model_record(model_name, WITHDRAWN_FILE)
    try:
        return Withdrawn.model_validate_json(content) if content is not None else None
    except ValidationError:
        return None


def finish_withdrawal(plan: ReleasePlan, environment: Environment) -> Withdrawn:
    """Take a model out of service as its open journal says, traffic first; doing it again changes nothing.

    Every step is tried, and the first error raised in the end: the journal stays open then for whoever comes next.
    Raises `VersionConflict` where somebody committed another config.pbtxt since: nothing is taken out then.
    """
    repository, attempts = environment.repository, Attempts()
    _remove_pointer(plan, repository)
    replicas: list[ReplicaReceipt] = []
    with attempts.trying():
        replicas += _unload(plan, environment)
    with attempts.trying():
        for name in find_candidates(plan.model_name, environment):
            remove_candidate(name, environment)
    with attempts.trying():
        _archive(plan.model_name, repository)
    with attempts.trying():
        align_dependents(plan.model_name, repository)
    withdrawn = _record(plan, tuple(replicas), environment)
    with attempts.trying():
        _remove_aliases(plan, environment)
    with attempts.trying():
        _tag(plan, withdrawn, environment.registry)
    attempts.raise_first()
    close_journal(repository, plan)
    reason = {"reason": plan.reason} if plan.reason else {}
    tell(Happened.WITHDRAWAL_FINISHED, plan.model_name, version=plan.registry_version, **reason)
    return withdrawn


def _remove_pointer(plan: ReleasePlan, repository: ModelRepository) -> None:
    """Commit that nothing is served: a replica that starts from here on loads nothing of the model."""
    found = repository.read_commit(plan.model_name)
    if found is None:
        return
    if found.config != plan.config_before:
        close_journal(repository, plan)
        raise VersionConflict(
            f"model '{plan.model_name}' in {repository.store.address}: config.pbtxt was changed after this withdrawal "
            "was planned, expected it as it was; nothing was taken out of service: withdraw again"
        )
    beside = f"{repository.archive_prefix}/{plan.model_name}/"
    repository.store.write(f"{beside}{BESIDE}{CONFIG_FILE}", found.config.encode())
    repository.commit(plan.model_name, None, after=found.etag)


def _unload(plan: ReleasePlan, environment: Environment) -> list[ReplicaReceipt]:
    """Take the model from every replica that answers; what keeps one from it keeps no other."""
    fleet = environment.fleet

    def unload(address: str) -> ReplicaReceipt:
        start = time.perf_counter()
        bring_to((), plan.model_name, address, fleet)
        if served := fleet.list_ready_versions(address, plan.model_name):
            raise LoadFailed(
                f"model '{plan.model_name}' on Triton {address}: serves {list(served)} after an unload, expected "
                "nothing of it; see that server's log"
            )
        return ReplicaReceipt(address=address, version=plan.version, load_s=time.perf_counter() - start)

    answering, silent = fleet.find_reached()
    for reason in silent.values():
        warn(f"model '{plan.model_name}': left to reconcile-models on a replica that does not answer: {reason}")
    unloaded = act_together(unload, answering, fleet.loads_at_once)
    unloaded.raise_worst()
    return list(unloaded.done.values())


def _archive(model_name: str, repository: ModelRepository) -> None:
    """Move every version that slipway has a record of, and what lies beside them, out of Triton's sight."""
    repository.clear_staging(model_name)
    recorded = repository.list_recorded(model_name)
    for version in repository.list_stored(model_name):
        if version in recorded:
            repository.archive(model_name, version)
    if not repository.list_stored(model_name):
        repository.archive_beside(model_name)


def _record(plan: ReleasePlan, replicas: tuple[ReplicaReceipt, ...], environment: Environment) -> Withdrawn:
    """Record the withdrawal, of the model and in the receipt of the version that was live; begun before, as it was."""
    repository = environment.repository
    before = read_withdrawn(repository, plan.model_name)
    if before is not None and before.flow_run_id == plan.flow_run_id and not before.left_to_reconcile:
        return before
    receipt = renew_receipt(plan, replicas, environment.fleet.list_addresses(), repository)
    if plan.served_before:
        record_receipt(receipt, repository)
    removed = {alias: version for alias, version in plan.aliases_before.items() if alias not in plan.aliases_after}
    withdrawn = Withdrawn(
        model_name=plan.model_name,
        at=datetime.now(UTC),
        flow_run_id=plan.flow_run_id,
        reason=plan.reason,
        registry_version=plan.registry_version,
        served=plan.served_before,
        aliases=removed,
        left_to_reconcile=receipt.left_to_reconcile,
    )
    repository.write_model_record(plan.model_name, WITHDRAWN_FILE, withdrawn.model_dump_json(indent=2).encode())
    return withdrawn


def _remove_aliases(plan: ReleasePlan, environment: Environment) -> None:
    """Remove `live` and `previous`, and `deploy` where it still is where it was: set again, it asks for a release."""
    registry, name = environment.registry, plan.model_name
    bring_aliases(registry, environment.repository, name, {})
    asked = registry.get_aliases(name).get(DEPLOY)
    if asked in {plan.aliases_before.get(DEPLOY, 0), plan.registry_version}:
        registry.remove_alias(name, DEPLOY)


def _tag(plan: ReleasePlan, withdrawn: Withdrawn, registry: ModelRegistry) -> None:
    if plan.served_before and plan.registry_version > 0:
        registry.tag_version(plan.model_name, plan.registry_version, {WITHDRAWN_AT_TAG: withdrawn.at.isoformat()})
