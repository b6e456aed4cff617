"""What lies where Triton reads and in the archive, listed at once: a page of a thousand keys a call, not models."""

from collections.abc import Iterable, Iterator
from typing import NamedTuple

from blocks.repository_layout import StoredVersions

Scanned = Iterable[tuple[str, str | None]]
"""Keys, each with the fingerprint of what is under it, None where a listing does not tell it."""


class Listing(NamedTuple):
    """The files where Triton reads, by model and by their paths below its folder, and the numbers in the archive."""

    files: dict[str, dict[str, str | None]]
    archive: dict[str, set[int]]

    def get_files(self, model_name: str) -> dict[str, str | None]:
        """Return the files of a model where Triton reads, each with its fingerprint where the listing tells it."""
        return self.files.get(model_name, {})

    def get_versions(self, model_name: str) -> StoredVersions:
        """Return the version numbers of a model: of each folder with files below it."""
        numbers = {number for path in self.get_files(model_name) if (number := _read_number(path)) is not None}
        return StoredVersions(
            repository=tuple(sorted(numbers)),
            archive=tuple(sorted(self.archive.get(model_name, ()))),
        )


def read_listing(stored: Scanned, archived: Scanned) -> Listing:
    """Return what lies where, of keys below where Triton reads and below the archive."""
    listing = Listing({}, {})
    for model_name, path, fingerprint in _split(stored):
        listing.files.setdefault(model_name, {})[path] = fingerprint
    for model_name, path, _ in _split(archived):
        if (number := _read_number(path)) is not None:
            listing.archive.setdefault(model_name, set()).add(number)
    return listing


def _split(scanned: Scanned) -> Iterator[tuple[str, str, str | None]]:
    for key, fingerprint in scanned:
        model_name, _, path = key.partition("/")
        if path:
            yield model_name, path, fingerprint


def _read_number(path: str) -> int | None:
    """Return the number of the version that a path below a model's folder is of, None where it is of none."""
    folder, slash, _ = path.partition("/")
    return int(folder) if slash and folder.isdecimal() else None
