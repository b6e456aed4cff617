"""A version's folder inside a store: copied on the server's side, each copy proven, and moved only so."""

from collections.abc import Iterable

from blocks.errors import IntegrityError
from blocks.labels import METADATA_FILE
from blocks.object_store import ObjectStore


def copy_folder(store: ObjectStore, source: str, target: str, leave: tuple[str, ...] = ()) -> list[str]:
    """Copy a version and prove each copy, metadata.json last; return the source's keys in that order.

    What was copied before and broken off stays: written anew, Triton would take it for changed.
    """
    files = {name: told for name, told in store.scan(source) if name not in leave}
    copies = dict(store.scan(target)) if files else {}

    def is_copied(name: str) -> bool:
        listed = files[name] is not None and files[name] == copies.get(name)
        return listed or is_same(store, target + name, source + name)

    for names in _put_metadata_last(files):
        missing = [name for name in names if name not in copies or not is_copied(name)]
        for name in missing:
            store.copy(source + name, target + name)
        copies = dict(store.scan(target)) if missing else copies
        for name in missing:
            if not is_copied(name):
                raise IntegrityError(
                    f"{store.address}, key {target}{name}: is not {source}{name}, its source; try again"
                )
    return [source + name for names in _put_metadata_last(files) for name in names]


def move_folder(store: ObjectStore, source: str, target: str) -> None:
    """Copy a version and delete what was proven to be copied, metadata.json last."""
    for keys in _put_metadata_last(copy_folder(store, source, target)):
        store.delete_all(keys)


def is_same(store: ObjectStore, key: str, other: str) -> bool:
    """Tell whether two objects exist and have one content."""
    if (one := store.get_fingerprint(key)) is None or (two := store.get_fingerprint(other)) is None:
        return False
    if one == two:
        return True
    return _read_size(one) == _read_size(two) and store.get_sha256(key) == store.get_sha256(other)


def _put_metadata_last(names: Iterable[str]) -> tuple[list[str], list[str]]:
    """Return all names but metadata.json, then that: who has it is complete."""
    last = [name for name in names if name.rpartition("/")[2] == METADATA_FILE]
    return sorted({*names} - {*last}), last


def _read_size(fingerprint: str) -> str:
    return fingerprint.partition(":")[0]
