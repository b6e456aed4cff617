"""Retention: what is no longer served goes to the archive, and what the archive keeps no more is deleted."""

from blocks.errors import NotRegistered
from blocks.labels import ROLLED_BACK_TAG, TRITON_VERSION_TAG
from blocks.registry import ModelRegistry
from blocks.repository import ModelRepository
from slipway.releases.marks import read_mark
from slipway.releases.metadata import read_metadata
from slipway.releases.pointer import read_committed


def archive_retired(model_name: str, repository: ModelRepository) -> tuple[int, ...]:
    """Move every version that slipway released and the policy of now does not name out of Triton's sight.

    Where nothing is committed nothing is moved. Returns the versions moved.
    """
    committed = read_committed(repository, model_name)
    unserved = set(repository.list_stored(model_name)) - set(committed) if committed else set[int]()
    retired = tuple(sorted(unserved.intersection(repository.list_recorded(model_name)))) if unserved else ()
    for version in retired:
        repository.archive(model_name, version)
    return retired


def discard_superfluous(model_name: str, keep: int, registry: ModelRegistry, repository: ModelRepository) -> None:
    """Delete what retention removes of the archive."""
    for version in find_superfluous(model_name, keep, registry, repository):
        repository.discard_archived(model_name, version)


def find_superfluous(
    model_name: str, keep: int, registry: ModelRegistry, repository: ModelRepository
) -> tuple[int, ...]:
    """Return the archived versions that retention removes, none where the registry does not know the model.

    The newest `keep` stay, those that were rolled back from after all others, and any whose MLflow version has an
    alias, or that MLflow does not know: it would be lost.
    """
    archived = repository.list_archived(model_name)
    if len(archived) <= keep:
        return ()
    ours = repository.list_recorded(model_name)
    archived = tuple(version for version in archived if version in ours)
    try:
        aliases = registry.get_aliases(model_name)
        tagged = {
            tags.get(TRITON_VERSION_TAG) for _, tags in registry.list_versions(model_name) if ROLLED_BACK_TAG in tags
        }
    except NotRegistered:
        return ()
    marked = {v for v in archived if str(v) in tagged or read_mark(repository, model_name, v) is not None}
    by_worth = sorted(archived, key=lambda version: (version not in marked, version), reverse=True)
    superfluous = by_worth[keep:]
    registered = {version: read_metadata(model_name, version, repository).registry_version for version in superfluous}
    return tuple(version for version in superfluous if registered[version] not in {None, *aliases.values()})
