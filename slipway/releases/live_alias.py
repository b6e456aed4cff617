"""The alias `live` brought to what is served, by itself: for a release in pieces, whose aliases move last."""

from blocks.errors import InvalidInput, ReleaseInProgress
from blocks.labels import LIVE
from blocks.registry import ModelRegistry
from blocks.repository import ModelRepository
from slipway.releases.aliases import AliasChange, derive_aliases, move_aliases
from slipway.releases.journal import read_open
from slipway.releases.lock import model_lock
from slipway.releases.metadata import read_metadata
from slipway.releases.pointer import read_committed
from slipway.releases.receipt import read_receipt, record_receipt, tag_receipt

_WAIT_S = 60.0


def point_at_served(
    model_name: str, registry_version: int, registry: ModelRegistry, repository: ModelRepository, *, dry_run: bool
) -> AliasChange:
    """Point `live` at the registered version that is served and `previous` at the one that was live before.

    Doing it again changes nothing. Raises `InvalidInput` where another version is served, `ReleaseInProgress` where a
    release of the model goes on, or was broken off.
    """
    if dry_run:
        return _work_out(model_name, registry_version, registry, repository)[1]
    with model_lock(model_name, repository, wait_s=_WAIT_S) as fence:
        fenced, store = registry.behind(fence.require), repository.behind(fence.require)
        version, change = _work_out(model_name, registry_version, fenced, store)
        move_aliases(fenced, store, model_name, change.before, change.after)
        if change.after != change.before and (receipt := read_receipt(store, model_name, version)) is not None:
            moved = receipt.model_copy(update={"aliases_before": change.before, "aliases_after": change.after})
            record_receipt(moved, store)
            tag_receipt(moved, fenced)
    return change.model_copy(update={"dry_run": False})


def _work_out(
    model_name: str, registry_version: int, registry: ModelRegistry, repository: ModelRepository
) -> tuple[int, AliasChange]:
    """Return the version that is live in Triton, and the aliases before and after."""
    if read_open(repository, model_name) is not None:
        raise ReleaseInProgress(
            f"model '{model_name}': a release of it goes on, or was broken off; wait for it, or run the last "
            "reload-triton again, which settles it"
        )
    registry.require_version(model_name, registry_version)
    live = max(read_committed(repository, model_name), default=None)
    served = read_metadata(model_name, live, repository).registry_version if live is not None else None
    if live is None or served != registry_version:
        observed = f"registry version {served} is served, as {live}" if live is not None else "nothing is served"
        raise InvalidInput(
            f"model '{model_name}': {observed}, expected registry version {registry_version}; run reload-triton for it "
            "first: no alias was moved"
        )
    before = registry.get_aliases(model_name)
    after = derive_aliases(before, registry_version, before.get(LIVE))
    return live, AliasChange(before=before, after=after, dry_run=True)
