"""Repair: what is safe to put right is brought to what is committed; the rest is for people."""

from blocks.environment import Environment
from blocks.errors import LoadFailed
from slipway.releases.candidate import find_candidates, remove_candidate
from slipway.releases.drift import Kind
from slipway.releases.replicas import bring_to, load_afresh
from slipway.releases.retention import archive_retired, discard_superfluous
from slipway.releases.survey import ModelState


def repair(state: ModelState, *, keep_archived: int, environment: Environment) -> None:
    """Repair what of a model's drift is safe to repair; the model's lock has to be held.

    Raises what a replica or a store answers that cannot be brought back; what was repaired before stays repaired.
    """
    kinds = {drift.kind for drift in state.drift}
    if Kind.CANDIDATE_LEFT in kinds:
        for name in find_candidates(state.name, environment):
            remove_candidate(name, environment)
    if Kind.STAGING_LEFT in kinds:
        environment.repository.clear_staging(state.name)
    for drift in state.drift:
        if drift.kind is Kind.REPLICA_BEHIND and drift.address:
            _bring_up_to_date(state, drift.address, environment)
        if drift.kind is Kind.REPLICA_WRONG and drift.address:
            load_afresh(state.policy, state.name, drift.address, environment.fleet)
    if Kind.VERSION_IDLE in kinds and state.policy:
        archive_retired(state.name, environment.repository)
    if Kind.ARCHIVE_FULL in kinds:
        discard_superfluous(state.name, keep_archived, environment.registry, environment.repository)


def _bring_up_to_date(state: ModelState, address: str, environment: Environment) -> None:
    try:
        bring_to(state.policy, state.name, address, environment.fleet)
    except LoadFailed:
        # Triton takes a file written in the same second as the one it knows for unchanged: it is written anew.
        found = environment.repository.read_commit(state.name)
        if found is not None:
            environment.repository.commit(
                state.name, found.config, after=found.etag, epoch=found.epoch, owner=found.owner or "nobody"
            )
        bring_to(state.policy, state.name, address, environment.fleet)
