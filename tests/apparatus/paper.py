"""An environment on paper: MLflow's and S3's own code without their servers, and replicas that only keep books.

What decides a release is shown with it in milliseconds; that servers do what is decided, tests/flows shows.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from typing import cast

import tritonclient.grpc as triton
from tritonclient.grpc import service_pb2 as pb
from tritonclient.utils import InferenceServerException

from blocks.environment import Environment
from blocks.fleet import TritonFleet
from blocks.labels import DEPLOY, LIVE, PREVIOUS, TRITON_VERSION_TAG
from blocks.registry import ModelRegistry
from blocks.repository import ModelRepository
from slipway.releases.metadata import MlflowSection, ModelSection, VersionMetadata
from slipway.releases.plan import ReleasePlan
from slipway.releases.receipt import Receipt, ReplicaReceipt, record_receipt, tag_receipt
from slipway.releases.serving_config import apply_policy, parse_config, read_policy

THEN = datetime(2026, 2, 3, 10, tzinfo=UTC)
ADDRESSES = ("paper-0:8001", "paper-1:8001")
PAPER_CONFIG = """
backend: "onnxruntime"
runtime: "libtriton_onnxruntime.so"
max_batch_size: 4
input { name: "input" data_type: TYPE_FP32 dims: 4 }
output { name: "output" data_type: TYPE_FP32 dims: 3 }
"""  # what a replica makes of a model without a config.pbtxt
FILE_SHA256 = "5e" * 32


class PaperReplicas:
    """A transport to replicas that serve what the committed config.pbtxt says from the load on, and answer nothing."""

    def __init__(self, repository: ModelRepository) -> None:
        self._repository = repository
        self._served: dict[str, dict[str, tuple[int, ...]]] = {address: {} for address in ADDRESSES}
        self.silent: set[str] = set()

    def serve(self, model_name: str, versions: tuple[int, ...], addresses: tuple[str, ...] = ADDRESSES) -> None:
        """Have replicas serve versions of a model, whatever is committed."""
        for address in addresses:
            self._served[address][model_name] = versions

    @contextmanager
    def connect(self, address: str) -> Iterator[triton.InferenceServerClient]:
        """Lend a client of one; `StatusCode.UNAVAILABLE` where it is to be silent."""
        if address in self.silent:
            raise InferenceServerException("silent", status="StatusCode.UNAVAILABLE")
        yield cast(triton.InferenceServerClient, _PaperReplica(self._served[address], self._repository))


class _PaperReplica:
    def __init__(self, served: dict[str, tuple[int, ...]], repository: ModelRepository) -> None:
        self._served, self._repository = served, repository

    def is_server_live(self, **_: object) -> bool:
        return True

    def is_model_ready(self, model_name: str, version: str, **_: object) -> bool:
        return int(version) in self._served.get(model_name, ())

    def get_model_repository_index(self, **_: object) -> pb.RepositoryIndexResponse:
        indexed = pb.RepositoryIndexResponse.ModelIndex
        entries = [(name, version) for name, versions in self._served.items() for version in versions]
        return pb.RepositoryIndexResponse(
            models=[indexed(name=name, version=str(version), state="READY") for name, version in entries]
        )

    def load_model(self, model_name: str, **_: object) -> None:
        if (policy := read_policy(self._repository.read_config(model_name))) == ():
            raise InferenceServerException(f"failed to load '{model_name}'", status="StatusCode.INVALID_ARGUMENT")
        self._served[model_name] = policy

    def get_model_config(self, model_name: str, **_: object) -> pb.ModelConfigResponse:
        config = parse_config(self._repository.read_config(model_name) or PAPER_CONFIG)
        config.name = model_name
        config.max_batch_size = config.max_batch_size or 4
        return pb.ModelConfigResponse(config=config)

    def unload_model(self, model_name: str, **_: object) -> None:
        self._served.pop(model_name, None)


def make_environment(registry: ModelRegistry, repository: ModelRepository) -> tuple[Environment, PaperReplicas]:
    """Return an environment with two replicas that serve nothing yet, and what makes them silent."""
    replicas = PaperReplicas(repository)
    fleet = TritonFleet(replicas=list(ADDRESSES)).through(replicas)
    return Environment(registry, repository, fleet), replicas


class Shelf:
    """One model on paper: versions registered, and released as far as bookkeeping goes."""

    def __init__(self, environment: Environment, model_name: str) -> None:
        self.environment, self.model_name = environment, model_name
        self.served: tuple[int, ...] = ()

    def registered(self, count: int = 1) -> "Shelf":
        """Register so many versions, `deploy` on the last one; they have no files in MLflow."""
        client = self.environment.registry.connect()
        if not client.search_registered_models(filter_string=f"name = '{self.model_name}'"):
            client.create_registered_model(self.model_name)
        for _ in range(count):
            created = client.create_model_version(self.model_name, source="s3://nowhere/model")
            client.set_registered_model_alias(self.model_name, DEPLOY, created.version)
        return self

    def released(self, count: int = 1) -> "Shelf":
        """Register so many versions, store, commit and load each, and keep what is not served in the archive."""
        for _ in range(count):
            self.registered()
            self._release(self.environment.registry.get_aliases(self.model_name)[DEPLOY])
        return self

    def _release(self, version: int) -> None:
        registry, repository = self.environment.registry, self.environment.repository
        served = (*self.served[-1:], version)
        for retired in set(self.served) - set(served):
            repository.archive(self.model_name, retired)
        self._store(version)
        # as it is committed, without the pause that has Triton see two commits within a second
        config = apply_policy(f'name: "{self.model_name}"', served)
        repository.store.write(f"{repository.repository_prefix}/{self.model_name}/config.pbtxt", config.encode())
        self.served = served
        for address in ADDRESSES:
            self.environment.fleet.load_model(address, self.model_name)
        before = {a: v for a, v in registry.get_aliases(self.model_name).items() if a in {LIVE, PREVIOUS}}
        after = {LIVE: version} | ({PREVIOUS: before[LIVE]} if before else {})
        for alias, number in after.items():
            registry.set_alias(self.model_name, alias, number)
        receipt = make_receipt(self.model_name, version, before, after)
        record_receipt(receipt, repository)
        tag_receipt(receipt, registry)
        registry.tag_version(self.model_name, version, {TRITON_VERSION_TAG: str(version)})

    def _store(self, version: int) -> None:
        repository = self.environment.repository
        repository.claim(self.model_name, version, f"run {version}")
        place = f"{repository.repository_prefix}/{self.model_name}/{version}"
        metadata = VersionMetadata(
            mlflow=MlflowSection(model_name=self.model_name, version=version),
            model=ModelSection(sha256={"model.onnx": FILE_SHA256}),
        )
        repository.store.write(f"{place}/model.onnx", f"weights {version}".encode())
        repository.store.write(f"{place}/metadata.json", metadata.model_dump_json(exclude_unset=True).encode())


def make_receipt(model_name: str, version: int, before: dict[str, int], after: dict[str, int]) -> Receipt:
    """Return the receipt of a release that both replicas proved."""
    return Receipt(
        model_name=model_name,
        kind="release",
        registry_version=version,
        version=version,
        flow_run_id=f"run {version}",
        live_since=THEN,
        aliases_before=before,
        aliases_after=after,
        replicas=tuple(ReplicaReceipt(address=address, version=version, load_s=0.1) for address in ADDRESSES),
    )


def make_plan(model_name: str = "m-onnx", version: int = 3, **further: object) -> ReleasePlan:
    """Return a plan of release of a version under its own number."""
    fields: dict[str, object] = {
        "model_name": model_name,
        "registry_version": version,
        "version": version,
        "creates_version": True,
        "already_live": False,
        "flow_run_id": f"run {version}",
    }
    return ReleasePlan.model_validate(fields | further)


class Died(BaseException):
    """What ends a run as SIGKILL does: nothing catches it."""


def dying_at(environment: Environment, change: int) -> Environment:
    """Return an environment in which a run dies right before a change, counted from 0, of any of its systems."""
    left = change

    def die() -> None:
        nonlocal left
        left -= 1
        if left < 0:
            raise Died

    return environment.behind(die, environment.epoch)
