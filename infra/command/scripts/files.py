"""The files between the scripts: names and keys are those of the reference scripts, and there are more keys."""

import json
import os
import shutil
import tempfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from blocks.errors import InvalidInput, bounded
from slipway.releases.fetched import FetchedModel

FETCHED_FILE = "mlflow_metadata.json"
VERSION_FILE = "triton_version.txt"
S3_URI_FILE = "s3_uri.txt"
LOADED_FILE = "loaded_version.txt"
ALIASES_FILE = "alias_updates.json"
VERIFICATION_FILE = "verification_result.json"


class FetchedDocument(BaseModel):
    """mlflow_metadata.json: the registered version that was fetched."""

    model_config = ConfigDict(frozen=True, extra="allow", protected_namespaces=())

    model_name: str
    version: str
    tracking_uri: str = Field(description="The registry it is of, without credentials.")
    fetched: FetchedModel

    @classmethod
    def of(cls, fetched: FetchedModel, tracking_uri: str) -> "FetchedDocument":
        """Return the document of a fetched model, with the reference's keys first."""
        registered = fetched.registered
        return cls(
            model_name=fetched.model_name,
            version=str(registered.version),
            tracking_uri=strip_credentials(tracking_uri),
            fetched=fetched,
            source=fetched.source,
            run_id=registered.run_id,
            run_name=registered.run_name,
            metrics=registered.metrics,
            params=registered.params,
            tags=registered.tags,
        )


def read_fetched(path: Path) -> FetchedDocument:
    """Return what fetch-model wrote; `InvalidInput` where it is something else."""
    try:
        return FetchedDocument.model_validate_json(path.read_bytes())
    except (OSError, ValidationError) as error:
        reason = error.errors()[0]["msg"] if isinstance(error, ValidationError) else error
        raise InvalidInput(
            f"--mlflow-metadata {path}: is not what fetch-model of slipway writes ({bounded(reason)}); run fetch-model"
        ) from error


def read_number(given: str) -> int:
    """Return a version number, given itself or as the file that holds it; `InvalidInput` where it is neither."""
    try:
        text = given if given.isdecimal() else Path(given).read_text().strip()
        if text.isascii() and text.isdecimal() and int(text) > 0:
            return int(text)
    except (OSError, ValueError) as error:
        raise InvalidInput(
            f"--triton-version {given}: cannot be read ({bounded(error)}); run determine-version"
        ) from error
    raise InvalidInput(f"--triton-version {given}: is {bounded(repr(text), 80)}, expected a version number")


def write_text(directory: Path, name: str, text: str) -> Path:
    """Write a file of the output directory, whole or not at all, and return where it is."""
    directory.mkdir(parents=True, exist_ok=True)
    descriptor, unfinished = tempfile.mkstemp(dir=directory, prefix=f".{name}-")
    with os.fdopen(descriptor, "w") as file:
        file.write(text)
    Path(unfinished).chmod(0o644)
    return Path(unfinished).replace(directory / name)


def write_json(directory: Path, name: str, content: Mapping[str, Any]) -> Path:
    """Write a JSON file of the output directory."""
    return write_text(directory, name, json.dumps(content, indent=2) + "\n")


def copy_file(source: Path, target: Path) -> None:
    """Put a file's content into the output directory, whole or not at all; one that is there already stays."""
    if target.exists() and target.samefile(source):
        return
    target.parent.mkdir(parents=True, exist_ok=True)
    descriptor, unfinished = tempfile.mkstemp(dir=target.parent, prefix=f".{target.name}-")
    os.close(descriptor)
    shutil.copyfile(source, unfinished)
    Path(unfinished).chmod(0o644)
    Path(unfinished).replace(target)


def strip_credentials(uri: str) -> str:
    """Return an address without the user and the password it may hold."""
    parts = urlsplit(uri)
    return parts._replace(netloc=parts.netloc.rpartition("@")[2]).geturl() if "@" in parts.netloc else uri
