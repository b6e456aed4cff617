"""The lock of a model, as tests move it: its lease ended, or the lock taken over, without waiting for either."""

from blocks.repository import ModelRepository
from slipway.releases.lock import read_entry


def end_lease(repository: ModelRepository, model_name: str) -> None:
    """Make whoever holds a model's lock one that was not heard of for its whole lease."""
    found = repository.read_lock(model_name)
    entry = read_entry(found)
    if found is not None and entry.owner is not None:
        free = entry.model_copy(update={"owner": None, "beat": entry.beat + 1})
        assert repository.write_lock(model_name, free.model_dump_json(), found.etag), "the holder lives and renews it"


def commit_by_hand(repository: ModelRepository, model_name: str, config: str) -> None:
    """Write config.pbtxt as a person does, whatever is there."""
    found = repository.read_commit(model_name)
    repository.commit(model_name, config, after=found.etag if found else None)
