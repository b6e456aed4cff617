"""Which versions of a model were released once, by the registry's tags and by what was recorded."""

from typing import NamedTuple

from blocks.labels import ROLLED_BACK_AT_TAG, ROLLED_BACK_TAG, TRITON_VERSION_TAG
from blocks.repository import ModelRepository
from blocks.repository_layout import StoredVersions
from slipway.releases.marks import read_mark
from slipway.releases.receipt import read_receipt


class Known(NamedTuple):
    """A version that was released once: its numbers in MLflow and in Triton, and why it was rolled back from."""

    registry_version: int
    version: int
    marked: str | None
    is_registered: bool = True


def list_released(
    registered: dict[int, dict[str, str]] | None, repository: ModelRepository, model_name: str, stored: StoredVersions
) -> list[Known]:
    """Return every version that was released once, the newest in Triton's repository first.

    The registry's tags say it at one look; of what it has no more, or does not answer (None), the receipts of what is
    stored do.
    """
    found = {
        int(tags[TRITON_VERSION_TAG]): Known(number, int(tags[TRITON_VERSION_TAG]), _read_mark_in(tags))
        for number, tags in (registered or {}).items()
        if tags.get(TRITON_VERSION_TAG, "").isdecimal()
    }
    for version in {*stored.repository, *stored.archive} - found.keys():
        if (receipt := read_receipt(repository, model_name, version)) is not None:
            mark = read_mark(repository, model_name, version)
            reason = f"{mark.at.isoformat()} ({mark.reason})" if mark else None
            found[version] = Known(receipt.registry_version, version, reason, is_registered=registered is None)
    return sorted(found.values(), key=lambda known: known.version, reverse=True)


def _read_mark_in(tags: dict[str, str]) -> str | None:
    if ROLLED_BACK_TAG not in tags:
        return None
    return f"{tags.get(ROLLED_BACK_AT_TAG, 'an unknown time')} ({tags[ROLLED_BACK_TAG]})"
