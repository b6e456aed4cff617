"""Models that slipway has no record of, laid out and loaded as the tools do that others release with."""

import json
import os
import subprocess
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import replace
from pathlib import Path
from typing import NamedTuple

import tritonclient.grpc as triton

from blocks.environment import Environment
from blocks.fleet import TritonFleet
from infra.local import preflight
from infra.local.settings import ROOT
from tests.apparatus.models import linear_model, random_weights, register_linear
from tests.apparatus.ports import free_port
from tests.apparatus.secured_triton import await_start

HAND_KEPT = """
platform: "onnxruntime_onnx"
max_batch_size: 8
input [ { name: "input" data_type: TYPE_FP32 dims: [ 4 ] } ]
output [ { name: "output" data_type: TYPE_FP32 dims: [ 3 ] } ]
instance_group [ { count: 1 kind: KIND_CPU } ]
"""
_PARTIAL = '\nbackend: "onnxruntime"\ndefault_model_filename: "model.onnx"\n'
_SERVE = """
import sys
sys.path.insert(0, "infra/local/triton")
from pathlib import Path
import serve
place = Path(sys.argv[1])
serve.become(sys.argv[2:], backends=serve.assemble_backends(place / "backends"), downloads=place / "downloads",
             memory_prefix=f"slipway-completing-{sys.argv[1].replace('/', '-')}-")
"""


class Layouts:
    """Writes one model into the bucket as another tool would, and loads it on every replica."""

    def __init__(self, environment: Environment, model_name: str) -> None:
        self.environment, self.model_name = environment, model_name

    def by_scripts(self, versions: int) -> "Layouts":
        """As the reference's deployment scripts: metadata.json in each folder, no config.pbtxt, aliases moved."""
        registry, client = self.environment.registry, self.environment.registry.connect()
        for version in range(1, versions + 1):
            registered = register_linear(registry, self.model_name, version)
            metadata = {
                "mlflow": {"model_name": self.model_name, "version": str(registered.version), "run_id": "r"},
                "triton": {"version": str(version), "deployed_at": "2026-01-02T03:04:05", "deployed_by": "argo"},
                "model": {"format": "onnx", "inputs": [], "outputs": []},
            }
            self._write(f"{version}/model.onnx", _weights(version))
            self._write(f"{version}/metadata.json", json.dumps(metadata).encode())
            if version > 1:
                client.set_registered_model_alias(self.model_name, "previous", str(version - 1))
            client.set_registered_model_alias(self.model_name, "live", str(version))
        return self.loaded()

    def by_plugin(self) -> "Layouts":
        """As NVIDIA's MLflow plugin deploys an ONNX model: one folder, a partial config.pbtxt, mlflow-meta.json."""
        registered = register_linear(self.environment.registry, self.model_name, 1)
        meta = {
            "name": self.model_name,
            "triton_model_path": f"s3://models/repository/{self.model_name}",
            "mlflow_model_uri": f"models:/{self.model_name}/{registered.version}",
            "flavor": "onnx",
        }
        self._write("1/model.onnx", _weights(1))
        self._write("config.pbtxt", _PARTIAL.encode())
        self._write("mlflow-meta.json", json.dumps(meta, indent=4).encode())
        return self.loaded()

    def by_hand(self, versions: int, policy: str, registered: int = 0) -> "Layouts":
        """As people do: folders and a whole config.pbtxt with a policy; the last so many are registered, too."""
        for version in range(1, versions + 1):
            self._write(f"{version}/model.onnx", _weights(version))
            if version > versions - registered:
                register_linear(self.environment.registry, self.model_name, version)
        self._write("config.pbtxt", f"# kept by hand\n{HAND_KEPT}\nversion_policy: {{ {policy} }}\n".encode())
        return self.loaded()

    def loaded(self) -> "Layouts":
        """Load the model on every replica."""
        for address in self.environment.fleet.list_addresses():
            self.environment.fleet.load_model(address, self.model_name)
        return self

    def count_answers(self) -> dict[tuple[str, str], int]:
        """Return how many requests each version answered on each replica since it was loaded."""
        counts: dict[tuple[str, str], int] = {}
        for address in self.environment.fleet.list_addresses():
            with triton.InferenceServerClient(address) as client:
                found = client.get_inference_statistics(self.model_name, client_timeout=10).model_stats
            counts |= {(address, each.version): int(each.inference_count) for each in found}
        return counts

    def _write(self, name: str, content: bytes) -> None:
        self.environment.repository.store.write(f"repository/{self.model_name}/{name}", content)


class Replica(NamedTuple):
    """Where a replica listens."""

    grpc: str
    http: str


@contextmanager
def completing_replicas(environment: Environment, directory: Path, count: int = 2) -> Iterator[Environment]:
    """Yield an environment with replicas of its own, which complete what a config.pbtxt leaves out."""
    with ExitStack() as running:
        replicas = [
            running.enter_context(completing_replica(environment, directory / str(number))) for number in range(count)
        ]
        yield replace(environment, fleet=TritonFleet(replicas=[replica.grpc for replica in replicas]))


@contextmanager
def completing_replica(environment: Environment, directory: Path, *buckets: str) -> Iterator[Replica]:
    """Yield a replica whose model control asks for no key; it reads these buckets, too, each as a whole."""
    directory.mkdir()
    bucket, store = environment.repository.bucket, environment.repository.store
    assert bucket is not None
    credentials = bucket.credentials
    place = f"{store.client.meta.endpoint_url}/{store.bucket}/{environment.repository.repository_prefix}"
    port, http_port = free_port(), free_port()
    command = [preflight.prepare_triton_python(), "-c", _SERVE, str(directory), f"--model-repository=s3://{place}"]
    command += [f"--model-repository=s3://{store.client.meta.endpoint_url}/{also}" for also in buckets]
    command += ["--model-control-mode=explicit", "--strict-readiness=false", "--allow-metrics=false"]
    command += ["--http-address=127.0.0.1", "--grpc-address=127.0.0.1", f"--http-port={http_port}"]
    command += [
        f"--backend-config={name},shm-region-prefix-name=slipway-completing-{str(directory).replace('/', '-')}-"
        for name in ("python", "onnxruntime")
    ]
    found = credentials.get_boto3_session().get_credentials()
    assert found is not None and found.access_key and found.secret_key
    keys = os.environ | {
        "AWS_ACCESS_KEY_ID": found.access_key,
        "AWS_SECRET_ACCESS_KEY": found.secret_key,
        "AWS_DEFAULT_REGION": "us-east-1",
    }
    with (directory / "log").open("wb") as log:
        process = subprocess.Popen(
            [*command, f"--grpc-port={port}", "--exit-timeout-secs=3"], cwd=ROOT, stdout=log, stderr=log, env=keys
        )
    try:
        await_start(process, directory / "log")
        yield Replica(f"127.0.0.1:{port}", f"127.0.0.1:{http_port}")
    finally:
        process.terminate()
        process.wait(30)


def _weights(version: int) -> bytes:
    return bytes(linear_model(random_weights(version)).SerializeToString())
