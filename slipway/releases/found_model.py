"""A foreign model as it was found: its folders, what each replica serves of it, and what was written down beside it."""

import json
import re
from concurrent.futures import ThreadPoolExecutor

from google.protobuf import text_format
from pydantic import BaseModel, ConfigDict, Field, ValidationError

from blocks.environment import Environment
from blocks.errors import InvalidInput
from blocks.fleet import TritonFleet
from blocks.labels import META_FILE, METADATA_FILE
from blocks.repository import ModelRepository
from slipway.formats.model_config import ENSEMBLE, check_config, find_backend
from slipway.releases.alias_update import explain_bad_name
from slipway.releases.metadata import VersionMetadata
from slipway.releases.serving_config import apply_policy, parse_config

_NOTES = {METADATA_FILE, META_FILE}  # what others write beside a version's files
_MODEL_URI = re.compile(r"models:/(?P<name>[^/@]+)/(?P<version>[0-9]+)")
_AT_ONCE = 4


class FoundVersion(BaseModel):
    """One version folder of a foreign model."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    version: int
    sha256: dict[str, str] = Field(description="Of each file, by its path below the folder.")
    recorded: int | None = Field(default=None, description="The MLflow version that was written down beside it.")
    recorded_in: str = Field(default="", description="In which file.")


class FoundModel(BaseModel):
    """A foreign model: where it is served, its folders, and the config.pbtxt that says what is served."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    model_name: str
    replicas: tuple[str, ...] = Field(description="Every replica's address; each serves the same of it.")
    served: tuple[int, ...]
    versions: tuple[FoundVersion, ...]
    config_before: str | None = Field(description="The config.pbtxt that lies there, None where there is none.")
    config: str = Field(description="The same, complete, with a policy that names what is served.")

    @property
    def live(self) -> int:
        """The Triton version that answers unversioned requests: the highest one served."""
        return max(self.served)


def find_model(model_name: str, environment: Environment) -> FoundModel:
    """Return a foreign model as it is stored and served; nothing is changed, its files are streamed once.

    Raises `InvalidInput` where it cannot be taken over as it is, and says why, `ServiceUnavailable` where a replica
    does not answer.
    """
    repository, fleet = environment.repository, environment.fleet
    if reason := explain_bad_name(model_name):
        raise InvalidInput(f"{reason.split(';')[0]}; keep its files under another name, and load it from there")
    addresses = fleet.check()
    served = _find_served(model_name, addresses, environment)
    numbers = repository.list_stored(model_name)
    subject = f"model '{model_name}' in {repository.store.address}"
    if missing := [version for version in served if version not in numbers]:
        raise InvalidInput(
            f"{subject}: versions {missing} are served, and there are no files of them, expected those of "
            f"{list(served)}; put them back, or load the model again: nothing was touched"
        )
    if strange := repository.list_strange(model_name):
        raise InvalidInput(
            f"{subject}: has folders {list(strange)}, whose names Triton takes for version numbers, expected numbers "
            "alone; remove them: nothing was touched"
        )
    before = repository.read_config(model_name)
    return FoundModel(
        model_name=model_name,
        replicas=tuple(addresses),
        served=served,
        versions=tuple(_describe(model_name, version, served, repository) for version in numbers),
        config_before=before,
        config=_find_config(model_name, before, served, addresses, fleet),
    )


def complete_config(model_name: str, written: str | None, completed: str, serves: tuple[int, ...]) -> str:
    """Return a config.pbtxt that serves exactly what is served now, complete as slipway needs it.

    What its author wrote is kept where that is complete: then Triton will never reload a version for it. Otherwise the
    server's own is taken, with what its backend added.

    Args:
        model_name: the model.
        written: the config.pbtxt that lies in the repository, None where there is none.
        completed: what a server made of it.
        serves: the versions served.
    """
    theirs, own = parse_config(written or ""), parse_config(completed)
    if theirs.name not in {"", model_name}:
        raise InvalidInput(
            f"model '{model_name}': its config.pbtxt is of model '{theirs.name}', expected '{model_name}'; correct the "
            "name: nothing was touched"
        )
    is_complete = theirs.input and theirs.output and find_backend(theirs)
    if written is not None and is_complete and theirs.max_batch_size == own.max_batch_size:
        return apply_policy(written, serves)
    own.name = model_name
    if not theirs.runtime:  # how this server runs the backend is not for another one
        own.ClearField("runtime")
    return apply_policy(str(text_format.MessageToString(own)), serves)


def read_notes(version: int, metadata: bytes | None, plugin: bytes | None, model_name: str) -> tuple[int | None, str]:
    """Return which MLflow version a folder's files are said to be, and where that stands; of this model's name alone.

    Args:
        version: the folder.
        metadata: its metadata.json, where it has one.
        plugin: the mlflow-meta.json that is about it, where there is one.
        model_name: the model.
    """
    try:
        found = VersionMetadata.model_validate_json(metadata) if metadata is not None else VersionMetadata()
    except ValidationError:
        found = VersionMetadata()
    if found.mlflow is not None and found.registry_version and found.mlflow.model_name in {None, model_name}:
        return found.registry_version, f"{version}/{METADATA_FILE}"
    try:
        uri = str(json.loads(plugin or b"{}").get("mlflow_model_uri", ""))
    except (ValueError, AttributeError):
        return None, ""
    named = _MODEL_URI.fullmatch(uri)
    if named is not None and named["name"] == model_name:
        return int(named["version"]), META_FILE
    return None, ""


def _find_served(model_name: str, addresses: list[str], environment: Environment) -> tuple[int, ...]:
    """Return the versions that every replica serves; `InvalidInput` where they disagree, or serve nothing."""
    served = {address: environment.fleet.list_ready_versions(address, model_name) for address in addresses}
    if len(set(served.values())) > 1:
        each = ", ".join(f"Triton {address} {list(versions)}" for address, versions in served.items())
        raise InvalidInput(
            f"model '{model_name}': its replicas serve different versions ({each}), expected the same on each; load "
            "the model where it is behind: nothing was touched"
        )
    if not (versions := served[addresses[0]]):
        where = environment.repository.store.address
        raise InvalidInput(
            f"model '{model_name}': no replica serves it, expected one that is served from {where}; load it first, or "
            "publish it and release it: nothing was touched"
        )
    return versions


def _find_config(
    model_name: str, before: str | None, served: tuple[int, ...], addresses: list[str], fleet: TritonFleet
) -> str:
    """Return the config.pbtxt to commit; `InvalidInput` where replicas have others, or slipway cannot release it."""
    completed = {address: fleet.read_served_config(address, model_name) for address in addresses}
    described = {address: _describe_tensors(config) for address, config in completed.items()}
    if len(set(described.values())) > 1:
        raise InvalidInput(
            f"model '{model_name}': its replicas serve different configurations of it ({described}), expected one; "
            "load the model on each: nothing was touched"
        )
    config = complete_config(model_name, before, completed[addresses[0]], served)
    message = parse_config(config)
    if find_backend(message) == ENSEMBLE:
        raise InvalidInput(
            f"model '{model_name}': is an ensemble, expected a model of one backend; publish it, and release it under "
            "another name: nothing was touched"
        )
    check_config(message, f"model '{model_name}'")
    return config


def _describe_tensors(config: str) -> str:
    message = parse_config(config)
    tensors = [f"{t.name} {t.data_type} {list(t.dims)}" for t in (*message.input, *message.output)]
    return f"max_batch_size {message.max_batch_size}, {', '.join(sorted(tensors))}"


def _describe(model_name: str, version: int, served: tuple[int, ...], repository: ModelRepository) -> FoundVersion:
    """Return one folder with the digest of each file, read back in chunks."""
    directory = repository.directory(model_name, version)
    files = [name for name in repository.list_files(model_name, version) if name not in _NOTES]
    with ThreadPoolExecutor(_AT_ONCE) as pool:
        digests = pool.map(lambda name: repository.store.get_sha256(f"{directory}{name}"), files)
        sha256 = dict(zip(files, digests, strict=True))
    plugin = repository.store.read(f"{directory}{META_FILE}")
    if plugin is None and version == max(served):  # what the plugin deployed last is what answers
        plugin = repository.read_beside(model_name, META_FILE)
    metadata = repository.store.read(f"{directory}{METADATA_FILE}")
    recorded, where = read_notes(version, metadata, plugin, model_name)
    return FoundVersion(version=version, sha256=sha256, recorded=recorded, recorded_in=where)
