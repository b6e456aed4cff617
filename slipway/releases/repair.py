"""Put right what is safe to put right, towards what is committed; the rest is for people."""

from prefect import task
from prefect.cache_policies import NO_CACHE

from blocks.errors import LoadFailed
from blocks.fleet import TritonFleet
from blocks.registry import ModelRegistry
from blocks.repository import ModelRepository
from slipway.releases.candidate import candidates_left, remove_candidate
from slipway.releases.completion import archive_retired, discard_superfluous
from slipway.releases.replicas import load_afresh, load_committed
from slipway.releases.settlement import settle_release
from slipway.releases.survey import Kind, ModelState


@task(name="repair-model", task_run_name="repair-model", cache_policy=NO_CACHE)
def repair_model(
    state: ModelState,
    keep_archived: int = 5,
    *,
    registry: ModelRegistry,
    repository: ModelRepository,
    fleet: TritonFleet,
) -> None:
    """Repair what of a model's drift is safe to repair; the model's lock has to be held.

    Raises what a replica or a store answers that cannot be brought back; what was repaired before stays repaired.
    """
    kinds = {drift.kind for drift in state.drift}
    if Kind.CANDIDATE_LEFT in kinds:
        for name in candidates_left(state.name, repository, fleet):
            remove_candidate(name, repository, fleet)
    if Kind.STAGING_LEFT in kinds:
        repository.clear_staging(state.name)
    for drift in state.drift:
        if drift.kind is Kind.REPLICA_BEHIND and drift.address:
            _bring_up_to_date(repository, fleet, drift.address, state)
        if drift.kind is Kind.REPLICA_WRONG and drift.address:
            load_afresh(fleet, drift.address, state.name, state.policy)
    if Kind.VERSION_IDLE in kinds and state.policy:
        archive_retired(state.name, repository)
    if Kind.ARCHIVE_FULL in kinds:
        discard_superfluous(state.name, keep_archived, registry, repository)


def settle(model_name: str, registry: ModelRegistry, repository: ModelRepository, fleet: TritonFleet) -> str | None:
    """Settle a release whose process is gone, before its model is looked at closely; return what became of it."""
    journal = settle_release.fn(model_name, registry=registry, repository=repository, fleet=fleet)
    if journal is None:
        return None
    return "finished" if journal.receipt is not None else "undone"


def _bring_up_to_date(repository: ModelRepository, fleet: TritonFleet, address: str, state: ModelState) -> None:
    if not state.policy:
        fleet.unload_model(address, state.name)
        return
    try:
        load_committed(fleet, address, state.name, state.policy)
    except LoadFailed:
        # Triton takes a file written in the same second as the one it knows for unchanged: it is written anew.
        found = repository.read_commit(state.name)
        if found is not None:
            repository.commit(
                state.name, found.config, after=found.etag, epoch=found.epoch, owner=found.owner or "nobody"
            )
        load_committed(fleet, address, state.name, state.policy)
