"""The files of a stored version, as they were when it was committed: what changed under it since is drift."""

from collections.abc import Mapping

from pydantic import BaseModel, ConfigDict, TypeAdapter, ValidationError

from blocks.errors import IntegrityError
from blocks.labels import FILES_FILE
from blocks.repository import ModelRepository
from slipway.releases.metadata import read_metadata


class StoredFile(BaseModel):
    """One file of a committed version."""

    model_config = ConfigDict(frozen=True, extra="ignore")

    name: str
    sha256: str
    fingerprint: str


_FILES = TypeAdapter(tuple[StoredFile, ...])


def record_files(repository: ModelRepository, model_name: str, version: int) -> tuple[StoredFile, ...]:
    """Write down a committed version's files with their checksums and what the store says of them."""
    directory = repository.directory(model_name, version)
    files = tuple(
        StoredFile(
            name=name, sha256=sha256, fingerprint=repository.store.get_fingerprint(f"{directory}{name}") or "nothing"
        )
        for name, sha256 in (read_metadata(model_name, version, repository).digests or {}).items()
    )
    repository.write_record(model_name, version, FILES_FILE, _FILES.dump_json(files, indent=2))
    return files


def find_changes(
    repository: ModelRepository, model_name: str, version: int, listed: Mapping[str, str | None] | None = None
) -> list[str]:
    """Return, for each file of a committed version that is not what was committed, what it is now.

    An object whose fingerprint is the recorded one has not changed; another's content is read and compared. Raises
    `IntegrityError` where what was recorded cannot be read.

    Args:
        repository: where the version is.
        model_name: the model.
        version: Triton's version of it.
        listed: fingerprints of the model's files, by their paths below its folder, as a listing told them; whatever it
            does not tell, or tells otherwise than is recorded, is asked for.
    """
    listed = listed or {}
    content = repository.read_record(model_name, version, FILES_FILE)
    changed = []
    for file in _parse(content, model_name, version) if content is not None else ():
        if listed.get(f"{version}/{file.name}") == file.fingerprint:
            continue
        key = f"{repository.directory(model_name, version)}{file.name}"
        fingerprint = repository.store.get_fingerprint(key)
        if fingerprint is None:
            changed.append(f"{key} is gone")
        elif fingerprint != file.fingerprint and (found := repository.store.get_sha256(key)) != file.sha256:
            changed.append(f"{key} has SHA-256 {found}, committed was {file.sha256}")
    return changed


def _parse(content: bytes, model_name: str, version: int) -> tuple[StoredFile, ...]:
    try:
        return _FILES.validate_json(content)
    except ValidationError as error:
        raise IntegrityError(
            f"model '{model_name}' version {version}: its record {FILES_FILE} cannot be read "
            f"({error.errors()[0]['msg']}); delete it, or release the version again"
        ) from error
