"""What a stored version's metadata.json says, whoever wrote it and whatever is wrong with it."""

import json
from typing import Any

from blocks.errors import IntegrityError
from blocks.repository import METADATA_FILE, ModelRepository


def read_metadata(model_name: str, version: int, repository: ModelRepository) -> dict[str, dict[str, Any]]:
    """Return the sections of a version's metadata.json, none where there is no such file.

    Raises `IntegrityError` where it is no JSON object of objects.
    """
    content = repository.read_metadata(model_name, version)
    if content is None:
        return {}
    try:
        found = json.loads(content)
    except (ValueError, RecursionError) as error:
        raise _unreadable(model_name, version, repository, str(error)) from error
    if not isinstance(found, dict):
        raise _unreadable(model_name, version, repository, f"it holds a {type(found).__name__}")
    return {name: section for name, section in found.items() if isinstance(section, dict)}


def registry_version(model_name: str, version: int, repository: ModelRepository) -> int | None:
    """Return the MLflow version a stored version was released from, None where its metadata does not say."""
    recorded = read_metadata(model_name, version, repository).get("mlflow", {}).get("version")
    return int(str(recorded)) if str(recorded).isdecimal() else None


def registered_run(model_name: str, version: int, repository: ModelRepository) -> str | None:
    """Return the MLflow run a stored version was registered from, None where its metadata does not say."""
    recorded = read_metadata(model_name, version, repository).get("mlflow", {}).get("run_id")
    return recorded if isinstance(recorded, str) else None


def recorded_digests(model_name: str, version: int, repository: ModelRepository) -> dict[str, str] | None:
    """Return the SHA-256 of each of a stored version's files, None where its metadata does not say."""
    recorded = read_metadata(model_name, version, repository).get("model", {}).get("sha256")
    return {str(name): str(sha256) for name, sha256 in recorded.items()} if isinstance(recorded, dict) else None


def _unreadable(model_name: str, version: int, repository: ModelRepository, why: str) -> IntegrityError:
    return IntegrityError(
        f"model '{model_name}' version {version} in {repository.store.address}: its {METADATA_FILE} "
        f"cannot be read ({why}), "
        "expected the sections mlflow, triton and model; restore it, or release the version again"
    )
