"""Repair: what is safe to put right is brought to what is committed; the rest is for people."""

from blocks.environment import Environment
from blocks.errors import LoadFailed
from blocks.fleet import TritonFleet
from slipway.releases.candidate import find_candidates, remove_candidate
from slipway.releases.drift import Kind
from slipway.releases.replicas import LoadedReplica, bring_to, load_afresh
from slipway.releases.retention import archive_retired, discard_superfluous
from slipway.releases.survey import ModelState
from slipway.releases.waves import act_together, roll_out


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
    _bring_up_to_date(state, environment)
    _load_afresh(state, environment.fleet)
    if Kind.VERSION_IDLE in kinds and state.policy:
        archive_retired(state.name, environment.repository)
    if Kind.ARCHIVE_FULL in kinds:
        discard_superfluous(state.name, keep_archived, environment.registry, environment.repository)


def _bring_up_to_date(state: ModelState, environment: Environment) -> None:
    """Have replicas that serve something else load what is committed, all at once; one that cannot keeps no other."""
    fleet = environment.fleet

    def load(address: str) -> LoadedReplica:
        return bring_to(state.policy, state.name, address, fleet)

    brought = act_together(load, _list_replicas(state, Kind.REPLICA_BEHIND), fleet.loads_at_once)
    if refused := [at for at, error in brought.failed.items() if isinstance(error, LoadFailed)]:
        # Triton takes a file written in the same second as the one it knows for unchanged: it is written anew.
        found = environment.repository.read_commit(state.name)
        if found is not None:
            environment.repository.commit(
                state.name, found.config, after=found.etag, epoch=found.epoch, owner=found.owner or "nobody"
            )
        brought = brought.followed_by(act_together(load, refused, fleet.loads_at_once))
    brought.raise_worst()


def _load_afresh(state: ModelState, fleet: TritonFleet) -> None:
    """Have replicas that answer wrongly forget a model and load it again, in waves: each is without it meanwhile."""
    wrong = _list_replicas(state, Kind.REPLICA_WRONG)
    for wave in roll_out(lambda at: load_afresh(state.policy, state.name, at, fleet), wrong, fleet.loads_at_once):
        wave.raise_worst()


def _list_replicas(state: ModelState, kind: Kind) -> list[str]:
    return [drift.address for drift in state.drift if drift.kind is kind and drift.address]
