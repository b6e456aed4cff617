"""Models of any size that are cheap to ask, and their release in a process of its own, whose memory is measured."""

import json
import os
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import NamedTuple
from uuid import UUID

import numpy as np
import onnx
from onnx import TensorProto, helper
from prefect_aws.s3 import S3Bucket

from blocks.checksums import FileDigest
from blocks.environment import Environment
from blocks.object_store import ObjectStore
from blocks.registry import RegisteredVersion
from infra.local.settings import MLFLOW_BUCKET, ROOT
from tests.apparatus.models import register_directory

SMALL_BYTES, MEDIUM_BYTES, LARGE_BYTES = 45 * 1024**2, 256 * 1024**2, 2 * 1024**3
DATA_FILE = "model.onnx.data"
MEMORY_LIMIT_BYTES = 150 * 1024**2
_COLUMNS = 1024
_CHUNK_ROWS = 4096
_DEADLINE_S = 1200


class Release(NamedTuple):
    """A release that succeeded, with the most memory its process ever held."""

    flow_run_id: UUID
    peak_bytes: int


@contextmanager
def table_model(environment: Environment, model_name: str, size_bytes: int) -> Iterator[RegisteredVersion]:
    """Register `output = table[input]` with its weights as external data; afterwards nothing large is left of it."""
    with TemporaryDirectory() as temporary:
        directory = Path(temporary)
        save_table(directory, size_bytes // (_COLUMNS * 4))
        registered = register_directory(environment.registry, model_name, directory)
        tags = {f"sha256/{DATA_FILE}": FileDigest.of(directory / DATA_FILE).sha256}
        environment.registry.tag_version(model_name, registered.version, tags)
    try:
        yield registered
    finally:
        for address in environment.fleet.list_addresses():
            environment.fleet.unload_model(address, model_name)
        for prefix in ("repository", "staging", "archive"):
            environment.repository.store.delete_below(f"{prefix}/{model_name}/")
        mlflow_store(environment).delete(artifacts_prefix(environment, registered))


def save_table(directory: Path, rows: int) -> None:
    """Write a table as mlflow.onnx lays it out: INT64 input [batch, 1], FP32 output [batch, 1, 1024]."""
    random = np.random.default_rng(rows)
    with (directory / DATA_FILE).open("wb") as data:
        for start in range(0, rows, _CHUNK_ROWS):
            random.random((min(_CHUNK_ROWS, rows - start), _COLUMNS), np.float32).tofile(data)
    (directory / "MLmodel").write_text("flavors:\n  onnx:\n    data: model.onnx\n")
    onnx.save(_lookup_in_table(rows), str(directory / "model.onnx"))


def _lookup_in_table(rows: int) -> onnx.ModelProto:
    table = TensorProto(name="table", data_type=TensorProto.FLOAT, dims=[rows, _COLUMNS])
    table.data_location = TensorProto.EXTERNAL
    table.external_data.add(key="location", value=DATA_FILE)
    graph = helper.make_graph(
        [helper.make_node("Gather", ["table", "input"], ["output"])],
        "lookup",
        [helper.make_tensor_value_info("input", TensorProto.INT64, ["batch_size", 1])],
        [helper.make_tensor_value_info("output", TensorProto.FLOAT, ["batch_size", 1, _COLUMNS])],
        [table],
    )
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", 20)], ir_version=10)


def mlflow_store(environment: Environment) -> ObjectStore:
    """Return the bucket MLflow keeps its artifacts in."""
    models = environment.repository.bucket
    assert models is not None
    return ObjectStore(S3Bucket(bucket_name=MLFLOW_BUCKET, credentials=models.credentials))


def artifacts_prefix(environment: Environment, registered: RegisteredVersion) -> str:
    """Return where in MLflow's bucket a version's files are."""
    logged = registered.source_uri.removeprefix("models:/")
    key = next(
        key for key in mlflow_store(environment).list_keys("") if f"/{logged}/" in key and key.endswith(DATA_FILE)
    )
    return key.removesuffix(DATA_FILE)


def release_apart(model_name: str) -> Release:
    """Release a model in a process of its own and return when it has ended."""
    with TemporaryDirectory() as workspace:
        answer = subprocess.run(
            [sys.executable, "-m", "tests.apparatus.large_models", model_name],
            env=os.environ | {"SLIPWAY_WORKSPACE": workspace},
            cwd=ROOT,
            stdout=subprocess.PIPE,
            text=True,
            check=True,
            timeout=_DEADLINE_S,
        )
    return Release(*json.loads(answer.stdout.splitlines()[-1]))


def _release_here(model_name: str) -> None:
    from flows.deployment import deploy_model

    state = deploy_model(model_name, return_state=True)
    assert state.is_completed(), state.message
    sys.stdout.write(json.dumps([str(state.state_details.flow_run_id), _peak_bytes()]))


def _peak_bytes() -> int:
    # getrusage would count what the process that forked this one held
    status = Path("/proc/self/status").read_text()
    return int(status.partition("VmHWM:")[2].split()[0]) * 1024


if __name__ == "__main__":
    _release_here(sys.argv[1])
