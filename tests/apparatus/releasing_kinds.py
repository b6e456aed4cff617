"""The way of one kind of model: registered, released, asked by 16 clients at once, and rolled back."""

import threading
from collections.abc import Iterable
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any, NamedTuple

import numpy as np
import tritonclient.grpc as triton
from mlflow import MlflowClient
from tritonclient.utils import InferenceServerException, np_to_triton_dtype

from blocks.environment import Environment
from blocks.registry import RegisteredVersion
from flows.deployment import Deployment, deploy_model
from flows.publication import publish_model
from flows.rollback import rollback_model
from slipway.releases.serving_config import takes_batches
from tests.apparatus.answers import find_difference
from tests.apparatus.kinds.directory_kind import DirectoryKind, Part
from tests.apparatus.kinds.kind import Exchange, ModelKind, Tensors
from tests.apparatus.models import register_directory

CLIENTS, REQUESTS = 16, 8
TIMEOUT_S = 30.0
AskedKind = ModelKind | DirectoryKind


class Asked(NamedTuple):
    """What the clients saw, all of them together."""

    answers: int
    wrong: list[str]
    versions: set[int]


def register_kind(environment: Environment, model_name: str, kind: ModelKind, seed: int) -> RegisteredVersion:
    """Register a kind as the next version of a model, with its tags and metrics, and point `deploy` at it."""
    with TemporaryDirectory() as temporary:
        directory = Path(temporary, "model")
        if not kind.has_example:  # MLflow makes its directory itself
            directory.mkdir()
        kind.save(directory, seed)
        registered = register_directory(environment.registry, model_name, directory)
    if kind.tags:
        environment.registry.tag_version(model_name, registered.version, dict(kind.tags))
    client: MlflowClient = environment.registry.connect()
    for name, value in kind.metrics.items():
        client.log_metric(registered.run_id or "", name, value)
    return environment.registry.get_version(model_name, registered.version)


def release_kind(environment: Environment, model_name: str, kind: ModelKind, seed: int) -> Deployment:
    """Register a kind and release it."""
    register_kind(environment, model_name, kind, seed)
    parameters: dict[str, Any] = {"input_shapes": dict(kind.input_shapes)} if kind.input_shapes else {}
    release = deploy_model(model_name, **parameters)
    assert isinstance(release, Deployment)
    return release


def release_directory_kind(directory: Path, model_name: str, kind: DirectoryKind, seed: int) -> Deployment:
    """Publish and release each part of a kind, what it calls first; return the release of the model itself."""
    released = [_release_part(directory / part.name, model_name, part, seed) for part in kind.parts]
    return released[-1]


def _release_part(directory: Path, model_name: str, part: Part, seed: int) -> Deployment:
    name = part.named(model_name, seed)
    publish_model(part.write(directory, model_name, seed), name, deploy=True)
    release = deploy_model(name)
    assert isinstance(release, Deployment)
    return release


def ask_kind(environment: Environment, model_name: str, kind: AskedKind, seed: int) -> Asked:
    """Ask the live version what the kind is asked, from 16 clients at once, and compare every answer."""
    return ask_at_once(environment.fleet.list_addresses(), model_name, kind.requests(seed, REQUESTS), kind.tolerance)


def assert_answers_right(environment: Environment, model_name: str, kind: AskedKind, seed: int, version: int) -> None:
    """Ask from all clients; every answer has to be that version's, and right."""
    asked = ask_kind(environment, model_name, kind, seed)
    assert asked.wrong == []
    assert (asked.answers, asked.versions) == (CLIENTS * REQUESTS, {version})


def assert_goes_the_whole_way(environment: Environment, model_name: str, kind: ModelKind) -> None:
    """Release a kind, and the kind with other weights, and roll back, and ask after each."""
    first = release_kind(environment, model_name, kind, seed=1).plan.version
    assert_answers_right(environment, model_name, kind, seed=1, version=first)
    second = release_kind(environment, model_name, kind, seed=2).plan.version
    assert_answers_right(environment, model_name, kind, seed=2, version=second)
    rollback_model(model_name, reason="a test")
    assert_answers_right(environment, model_name, kind, seed=1, version=first)


def ask_at_once(
    addresses: list[str], model_name: str, exchanges: list[Exchange], tolerance: float, clients: int = CLIENTS
) -> Asked:
    """Send every request from every client, each client beginning with another one, and compare every answer.

    Neighbours on a replica ask different things at the same moment, so that Triton joins those where it joins any.
    """
    start = threading.Barrier(clients)
    turned = [exchanges[n % len(exchanges) :] + exchanges[: n % len(exchanges)] for n in range(clients)]
    asking = [
        _Client(addresses[number % len(addresses)], model_name, turned[number // len(addresses)], tolerance, start)
        for number in range(clients)
    ]
    for client in asking:
        client.start()
    for client in asking:
        client.join()
    return _add_up(asking)


def _add_up(clients: Iterable["_Client"]) -> Asked:
    clients = list(clients)
    versions = set().union(*(client.versions for client in clients))
    return Asked(sum(client.answers for client in clients), [text for c in clients for text in c.wrong], versions)


class _Client(threading.Thread):
    """One client with a connection of its own, which asks one request after the other."""

    def __init__(
        self, address: str, model_name: str, exchanges: list[Exchange], tolerance: float, start: threading.Barrier
    ) -> None:
        super().__init__(daemon=True)
        self._address, self._model_name, self._exchanges = address, model_name, exchanges
        self._tolerance, self._start_together = tolerance, start
        self.answers, self.wrong, self.versions = 0, list[str](), set[int]()

    def run(self) -> None:
        try:
            with triton.InferenceServerClient(self._address) as client:
                ranks = read_ranks(client, self._model_name)
                self._start_together.wait(TIMEOUT_S)
                for exchange in self._exchanges:
                    self._ask(client, exchange, ranks)
        except (InferenceServerException, threading.BrokenBarrierError) as error:
            self.wrong.append(f"{self._address}: {type(error).__name__}: {error}")
            self._start_together.abort()

    def _ask(self, client: triton.InferenceServerClient, exchange: Exchange, ranks: dict[str, int]) -> None:
        inputs = [as_input(name, array, ranks[name]) for name, array in exchange.inputs.items()]
        try:
            result = client.infer(self._model_name, inputs, client_timeout=TIMEOUT_S)
        except InferenceServerException as error:
            self.wrong.append(f"{self._address}: {error}")
            return
        self.answers += 1
        self.versions.add(int(result.get_response().model_version))
        found: Tensors = {name: result.as_numpy(name) for name in exchange.outputs}
        if difference := find_difference(found, exchange.outputs, self._tolerance):
            self.wrong.append(f"{self._address}: {difference}")


def read_ranks(client: triton.InferenceServerClient, model_name: str) -> dict[str, int]:
    """Return how many axes Triton expects of each input, its batch's included."""
    metadata = client.get_model_metadata(model_name, client_timeout=TIMEOUT_S)
    return {tensor.name: len(tensor.shape) for tensor in metadata.inputs}


def is_served_in_batches(environment: Environment, model_name: str) -> bool:
    """Tell whether Triton joins the requests of a model."""
    return takes_batches(environment.repository.read_config(model_name) or "")


def as_input(name: str, array: np.ndarray, rank: int) -> triton.InferInput:
    """Return a tensor as Triton takes it: with one axis more where it has fewer than the configuration says."""
    shaped = array.reshape(*array.shape, *(1,) * (rank - array.ndim))
    tensor = triton.InferInput(name, list(shaped.shape), np_to_triton_dtype(shaped.dtype))
    tensor.set_data_from_numpy(shaped)
    return tensor
