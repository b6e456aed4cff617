"""The deployments there are: each with what answers its clients now."""

from collections.abc import Mapping
from typing import Any, NamedTuple

from blocks.environment import Environment
from blocks.errors import SlipwayError
from blocks.repository import ModelRepository
from blocks.run import warn
from infra.mlflow_deployments.meta import Meta, read_meta
from slipway.releases.metadata import read_metadata
from slipway.releases.serving_config import read_policy

Served = Mapping[str, Mapping[str, tuple[int, ...]]]
READY, UNAVAILABLE = "READY", "UNAVAILABLE"


class _Live(NamedTuple):
    """The version that answers, and what it was made of."""

    version: int
    meta: Meta


def list_entries(environment: Environment) -> list[dict[str, Any]]:
    """Return every deployment, slipway's and those that NVIDIA's plugin made; what cannot be read is left out."""
    contents, served = environment.repository.list_contents(), _ask_replicas(environment)
    entries = []
    for name in sorted(contents.served):
        try:
            ours = name in contents.recorded
            live = find_live(name, environment.repository) if ours else _find_foreign(name, served, environment)
        except SlipwayError as error:
            warn(f"deployment '{name}' is left out: {error}")
            continue
        if live is not None:
            entries.append(_make_entry(name, live, served))
    return entries


def find_live(name: str, repository: ModelRepository) -> _Live | None:
    """Return what is committed for a model of slipway's, None where nothing is."""
    policy = read_policy(repository.read_config(name))
    if not policy:
        return None
    version = max(policy)
    return _Live(version, read_meta(repository, name, version) or _describe_release(name, version, repository))


def locate_model(name: str, repository: ModelRepository) -> str:
    """Return where a model is, as Triton's --model-repository would have it."""
    return repository.store.uri(repository.model_directory(name)).rstrip("/")


def _describe_release(name: str, version: int, repository: ModelRepository) -> Meta:
    """Return what a version was made of that a flow released."""
    metadata = read_metadata(name, version, repository)
    model = metadata.mlflow.model_name if metadata.mlflow and metadata.mlflow.model_name else name
    uri = f"models:/{model}/{metadata.registry_version}" if metadata.registry_version is not None else ""
    flavor = metadata.model.format if metadata.model and metadata.model.format else ""
    return Meta(locate_model(name, repository), uri, flavor)


def _find_foreign(name: str, served: Served, environment: Environment) -> _Live | None:
    """Return what NVIDIA's plugin deployed, as it is served, None where it is not, or another put it there."""
    versions = {version for index in served.values() for version in index.get(name, ())}
    meta = read_meta(environment.repository, name) if versions else None
    return _Live(max(versions), meta) if meta else None


def _make_entry(name: str, live: _Live, served: Served) -> dict[str, Any]:
    ready = bool(served) and all(live.version in index.get(name, ()) for index in served.values())
    state = READY if ready else UNAVAILABLE
    return {"name": name, "version": str(live.version), "state": state, **live.meta._asdict()}


def _ask_replicas(environment: Environment) -> Served:
    answering, silent = environment.fleet.find_reached()
    for reason in silent.values():
        warn(f"a replica is left out: {reason}")
    return {address: environment.fleet.read_index(address) for address in answering}
