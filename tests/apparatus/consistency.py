"""Whether a model's registry, repository and replicas tell one and the same story."""

import hashlib
import json

import numpy as np
import onnx
from onnx import numpy_helper

from blocks.environment import Environment
from blocks.object_store import ObjectStore
from blocks.repository import ModelRepository
from slipway.releases.journal import read_open
from slipway.releases.serving_config import read_policy
from tests.apparatus.models import FEATURES


def assert_consistent(environment: Environment, model_name: str) -> int | None:
    """Prove that alias, policy and every replica agree and nothing is left over; return the live registry version.

    The model is one of `tests/apparatus/models.py`: a replica's answer is compared with what the live version's own
    weights give. None is returned where nothing is released.
    """
    aliases = environment.registry.get_aliases(model_name)
    served = read_policy(environment.repository.read_config(model_name))
    _assert_nothing_left_over(environment, model_name)
    _assert_whole_versions(environment.repository, model_name, served)
    assert _served_by_replicas(environment, model_name) == dict.fromkeys(environment.fleet.list_addresses(), served)
    if not served:
        assert not {"live", "previous"} & set(aliases), f"nothing is served, aliases are {aliases}"
        return None
    registered = {version: _registry_version(environment.repository, model_name, version) for version in served}
    assert aliases.get("live") == registered[max(served)], f"aliases {aliases}, the policy serves {registered}"
    _assert_previous(aliases, tuple(registered.values()))
    _assert_own_answers(environment, model_name, max(served))
    return aliases["live"]


def observed(environment: Environment, model_name: str) -> dict[str, object]:
    """Return everything a release may change: policy, files, aliases, what each replica serves, journal."""
    keys = environment.repository.store.list_keys
    return {
        "policy": read_policy(environment.repository.read_config(model_name)),
        "versions": environment.repository.list_versions(model_name).model_dump(),
        # of config.pbtxt the policy counts: who wrote it stands in a comment
        "files": {
            key: size
            for key, size in (keys(f"repository/{model_name}/") | keys(f"archive/{model_name}/")).items()
            if not key.endswith("/config.pbtxt")
        },
        "staging": keys(f"staging/{model_name}/"),
        "journal": read_open(environment.repository, model_name),
        "aliases": {a: v for a, v in environment.registry.get_aliases(model_name).items() if a in {"live", "previous"}},
        "served": list_served(environment, model_name),
    }


def _assert_nothing_left_over(environment: Environment, model_name: str) -> None:
    repository = environment.repository
    assert read_open(repository, model_name) is None, "the journal is open"
    assert repository.store.list_keys(f"{repository.staging_prefix}/{model_name}/") == {}
    names = [name for name in repository.store.list_prefixes(f"{repository.repository_prefix}/") if model_name in name]
    assert set(names) <= {model_name}, f"left in the repository: {names}"


def list_served(environment: Environment, model_name: str) -> list[tuple[int, ...]]:
    """Return the versions of a model that each replica says are ready, in the fleet's order."""
    fleet = environment.fleet
    return [fleet.list_ready_versions(address, model_name) for address in fleet.list_addresses()]


def _served_by_replicas(environment: Environment, model_name: str) -> dict[str, tuple[int, ...]]:
    return {
        address: environment.fleet.list_ready_versions(address, model_name)
        for address in environment.fleet.list_addresses()
    }


def _assert_whole_versions(repository: ModelRepository, model_name: str, served: tuple[int, ...]) -> None:
    stored = repository.list_versions(model_name)
    assert stored.repository == served, f"versions {stored.repository} lie in the repository, {served} are served"
    assert not set(stored.repository) & set(stored.archive), f"both served and archived: {stored}"
    for prefix, versions in ((repository.repository_prefix, served), (repository.archive_prefix, stored.archive)):
        for version in versions:
            _assert_whole(repository.store, f"{prefix}/{model_name}/{version}/")


def _assert_whole(store: ObjectStore, directory: str) -> None:
    content = {key.removeprefix(directory): store.read(key) or b"" for key in store.list_keys(directory)}
    assert "metadata.json" in content, f"{directory} holds only {sorted(content)}"
    recorded = json.loads(content.pop("metadata.json"))["model"]["sha256"]
    assert {name: hashlib.sha256(data).hexdigest() for name, data in content.items()} == recorded, (
        f"{directory} differs"
    )


def _registry_version(repository: ModelRepository, model_name: str, version: int) -> int:
    metadata = json.loads(repository.read_metadata(model_name, version) or "")
    return int(metadata["mlflow"]["version"])


def _assert_previous(aliases: dict[str, int], registered: tuple[int, ...]) -> None:
    assert aliases.get("previous") != aliases["live"], f"the live version is its own predecessor: {aliases}"
    others = [version for version in registered if version != aliases["live"]]  # served once with other settings
    if others:
        assert aliases.get("previous") == others[-1], f"aliases {aliases}, the policy serves {registered}"


def _assert_own_answers(environment: Environment, model_name: str, version: int) -> None:
    key = f"{environment.repository.repository_prefix}/{model_name}/{version}/model.onnx"
    model = onnx.load_from_string(environment.repository.store.read(key) or b"")
    weights = next(numpy_helper.to_array(tensor) for tensor in model.graph.initializer if tensor.name == "weights")
    inputs = np.ones((2, FEATURES), np.float32)
    for address in environment.fleet.list_addresses():
        answer = environment.fleet.infer(address, model_name, {"input": inputs}, ["output"], None)
        np.testing.assert_allclose(answer["output"], inputs @ weights, rtol=1e-4, atol=1e-5)
