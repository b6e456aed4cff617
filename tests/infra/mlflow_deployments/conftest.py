"""What both files of whole deployments begin with: an MLflow, a Triton on a directory, the variables, a model."""

import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import mlflow
import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper

from tests.apparatus.plain_triton import PlainTriton, plain_triton
from tests.apparatus.triton_directories import write_directory, write_python_model

INPUT: dict[str, Any] = {"inputs": {"INPUT0": [list(range(1, 17))], "INPUT1": [list(range(1, 17))]}}
EXPECTED: dict[str, Any] = {"outputs": {"OUTPUT0": [list(range(2, 34, 2))], "OUTPUT1": [[0] * 16]}}
SUM_CONFIG = """
platform: "onnxruntime_onnx"
max_batch_size: 8
version_policy: { latest { num_versions: 1 } }
input [ { name: "INPUT0" data_type: TYPE_FP32 dims: [ 16 ] }, { name: "INPUT1" data_type: TYPE_FP32 dims: [ 16 ] } ]
output [ { name: "OUTPUT0" data_type: TYPE_INT32 dims: [ 16 ] } ]
output [ { name: "OUTPUT1" data_type: TYPE_INT32 dims: [ 16 ] } ]
"""


def sum_model() -> onnx.ModelProto:
    """Return the model of NVIDIA's example: FP32 [batch, 16] twice in, their sum and difference as INT32 out."""
    rows: list[Any] = ["batch_size", 16]
    names = {"INPUT0": TensorProto.FLOAT, "INPUT1": TensorProto.FLOAT}
    results = {"OUTPUT0": TensorProto.INT32, "OUTPUT1": TensorProto.INT32}
    nodes = [
        helper.make_node("Add", ["INPUT0", "INPUT1"], ["sum"]),
        helper.make_node("Sub", ["INPUT0", "INPUT1"], ["difference"]),
        helper.make_node("Cast", ["sum"], ["OUTPUT0"], to=TensorProto.INT32),
        helper.make_node("Cast", ["difference"], ["OUTPUT1"], to=TensorProto.INT32),
    ]
    graph = helper.make_graph(
        nodes,
        "sum",
        [helper.make_tensor_value_info(name, kind, rows) for name, kind in names.items()],
        [helper.make_tensor_value_info(name, kind, rows) for name, kind in results.items()],
    )
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", 20)], ir_version=10)


def write_sum_directory(directory: Path) -> Path:
    """Write the example as a Triton model directory."""
    return write_directory(directory, SUM_CONFIG, {"1/model.onnx": sum_model().SerializeToString()})


def read_input() -> dict[str, np.ndarray]:
    """Return the example's input as arrays."""
    return {name: np.array(value, np.float32) for name, value in INPUT["inputs"].items()}


@pytest.fixture(scope="module")
def triton(tmp_path_factory: pytest.TempPathFactory) -> Iterator[PlainTriton]:
    """A Triton on a directory with a model in it that nobody deployed through MLflow."""
    directory = tmp_path_factory.mktemp("plain")
    repository = directory / "models"
    write_python_model(repository / "existing_model")
    with plain_triton(directory / "server", repository) as server:
        yield server


@pytest.fixture(scope="module")
def variables(triton: PlainTriton, tmp_path_factory: pytest.TempPathFactory) -> Iterator[dict[str, str]]:
    """The variables of NVIDIA's plugin, for that Triton and an MLflow in a file; no Prefect server is named."""
    database = tmp_path_factory.mktemp("mlflow") / "mlflow.db"
    named = {
        "MLFLOW_TRACKING_URI": f"sqlite:///{database}",
        "TRITON_URL": triton.http,
        "TRITON_MODEL_REPO": str(triton.repository),
        "SLIPWAY_TRITON_CONTROL_KEY": triton.key,
    }
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(database.parent)  # where MLflow keeps artifacts
        patch.delenv("PREFECT_API_URL", raising=False)
        for name, value in named.items():
            patch.setenv(name, value)
        mlflow.set_tracking_uri(named["MLFLOW_TRACKING_URI"])
        mlflow.set_experiment("Default")  # another test's, of another server, would be active still
        mlflow.set_registry_uri(named["MLFLOW_TRACKING_URI"])
        yield os.environ | named
        mlflow.set_tracking_uri("")
        mlflow.set_registry_uri("")
