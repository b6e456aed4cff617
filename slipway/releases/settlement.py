"""Settling a release that was begun: what is proven is finished, as a withdrawal is; everything else is undone.

The same code serves a failing flow, the hooks of a cancelled or crashed one, the next run and the reconciler.
"""

from blocks.environment import Environment
from blocks.errors import LoadFailed, ServiceUnavailable
from blocks.events import Happened, tell
from blocks.fleet import TritonFleet
from blocks.repository import ModelRepository
from blocks.repository_layout import name_candidate
from blocks.run import get_flow_run_id, warn
from slipway.releases.adopted import undo_adoption
from slipway.releases.aliases import bring_aliases
from slipway.releases.attempts import Attempts
from slipway.releases.candidate import remove_candidate
from slipway.releases.completion import complete
from slipway.releases.dependencies import align_dependents
from slipway.releases.journal import Journal, Proven, close_journal, read_open
from slipway.releases.plan import ReleasePlan
from slipway.releases.pointer import read_committed, restore_pointer
from slipway.releases.replicas import bring_to
from slipway.releases.waves import act_together
from slipway.releases.withdrawn import finish_withdrawal


def settle(model_name: str, environment: Environment, only_flow_run_id: str | None = None) -> Journal | None:
    """Finish or undo a model's open release and return its journal, None where there was nothing to settle.

    Settling twice, or after a failure half way, does no harm: every step states what is to be, not what to change.
    A replica that does not answer is left to the reconciler: started again, it comes up with what is committed. One
    that answers and cannot be brought back raises, and the journal stays open for the next run.

    Args:
        model_name: the model.
        environment: where journal, policy, files, aliases and replicas are.
        only_flow_run_id: settle only a release this flow run began.
    """
    journal = read_open(environment.repository, model_name)
    if journal is None or only_flow_run_id not in {None, journal.plan.flow_run_id}:
        return None
    if journal.plan.kind == "withdrawal":
        finish_withdrawal(journal.plan, environment)
    elif isinstance(journal, Proven):
        complete(journal, environment)
    elif journal.plan.kind == "adoption":
        undo_adoption(journal.plan, environment.repository)
    else:
        _undo(journal.plan, environment)
        tell(Happened.RELEASE_UNDONE, model_name, kind=journal.plan.kind, version=journal.plan.registry_version)
    return journal


def is_left_to_settle(model_name: str, environment: Environment) -> bool:
    """Tell whether a model's open release is another run's, or is proven: this run's own is still to be carried out."""
    left = read_open(environment.repository, model_name)
    return left is not None and (isinstance(left, Proven) or left.plan.flow_run_id != get_flow_run_id())


def _undo(plan: ReleasePlan, environment: Environment) -> None:
    """Bring replicas, then files, then aliases back to what they were; every step is tried.

    What is committed by now and is not this release's stands: replicas are brought to it, and nothing of it is moved.
    """
    repository, attempts, restored = environment.repository, Attempts(), False
    with attempts.trying():
        for version in sorted(set(plan.served_before).intersection(repository.list_archived(plan.model_name))):
            repository.unarchive(plan.model_name, version)
        if plan.live_before is not None:
            repository.share(plan.model_name, plan.live_before)
        restored = restore_pointer(repository, plan)
    with attempts.trying():
        _restore_replicas(plan.model_name, repository, environment.fleet)
    with attempts.trying():
        remove_candidate(name_candidate(plan.model_name, plan.epoch), environment)
    with attempts.trying():
        _remove_files(plan, repository)
    with attempts.trying():
        align_dependents(plan.model_name, repository)
    with attempts.trying():
        if restored:
            bring_aliases(environment.registry, repository, plan.model_name, plan.aliases_before)
    attempts.raise_first()
    close_journal(repository, plan)


def _remove_files(plan: ReleasePlan, repository: ModelRepository) -> None:
    """Remove what the release stored, and archive again what it brought back, unless the policy of now names it."""
    committed = read_committed(repository, plan.model_name)
    if plan.version not in committed:
        if plan.creates_version and repository.is_claimed_by(plan.model_name, plan.version, plan.flow_run_id):
            repository.remove(plan.model_name, plan.version)
        elif not plan.creates_version and plan.version not in plan.served_before:
            repository.archive(plan.model_name, plan.version)
    for version in set(plan.serves) - {plan.version, *plan.served_before, *committed}:
        if version in repository.list_stored(plan.model_name):
            repository.archive(plan.model_name, version)
    repository.clear_staging(plan.model_name)


def _restore_replicas(model_name: str, repository: ModelRepository, fleet: TritonFleet) -> None:
    """Make every replica serve what is committed, all at once, since it served that before; all are tried."""
    committed = read_committed(repository, model_name)
    answering, silent = fleet.find_reached()
    restored = act_together(lambda at: _restore(model_name, committed, fleet, at), answering, fleet.loads_at_once)
    silent |= {at: error for at, error in restored.failed.items() if isinstance(error, ServiceUnavailable)}
    for reason in silent.values():
        warn(f"model '{model_name}': left to reconcile-models on a replica that does not answer: {reason}")
    restored.raise_worst(leave_silent=True)


def _restore(model_name: str, committed: tuple[int, ...], fleet: TritonFleet, address: str) -> None:
    try:
        bring_to(committed, model_name, address, fleet)
    except LoadFailed:
        # Refused, but Triton kept what it served: a full disk, say, does that.
        if fleet.list_ready_versions(address, model_name) != committed:
            raise
