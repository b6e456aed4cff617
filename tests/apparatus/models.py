"""Small ONNX models, registered as gate 2 registers them: files, golden samples, checksums, alias `deploy`."""

import hashlib
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import mlflow
import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper

from blocks.registry import ModelRegistry, RegisteredVersion

FEATURES, CLASSES, GOLDEN_SAMPLES = 4, 3, 6


def linear_model(weights: np.ndarray, batch: int | str = "batch_size") -> onnx.ModelProto:
    """Return `output = input @ weights`: FP32 input [batch, 4], output [batch, 3]."""
    graph = helper.make_graph(
        [helper.make_node("MatMul", ["input", "weights"], ["output"])],
        "linear",
        [helper.make_tensor_value_info("input", TensorProto.FLOAT, [batch, weights.shape[0]])],
        [helper.make_tensor_value_info("output", TensorProto.FLOAT, [batch, weights.shape[1]])],
        [numpy_helper.from_array(weights, "weights")],
    )
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", 20)], ir_version=10)


def random_weights(seed: int) -> np.ndarray:
    """Return FP32 weights [4, 3]; another seed, another model."""
    return np.random.default_rng(seed).standard_normal((FEATURES, CLASSES)).astype(np.float32)


def register_linear(registry: ModelRegistry, model_name: str, seed: int, lie: float = 0.0) -> RegisteredVersion:
    """Register a linear model with its golden samples; `lie` is added to what the samples claim."""
    weights = random_weights(seed)
    inputs = np.random.default_rng(seed + 1).standard_normal((GOLDEN_SAMPLES, FEATURES)).astype(np.float32)
    return register(registry, model_name, linear_model(weights), inputs, inputs @ weights + np.float32(lie))


def register_overflowing(registry: ModelRegistry, model_name: str) -> RegisteredVersion:
    """Register a model that computes infinity from nearly everything, and no golden samples that would say so."""
    with TemporaryDirectory() as temporary:
        save(Path(temporary), linear_model(np.full((FEATURES, CLASSES), 3e38, np.float32)), {})
        return register_directory(registry, model_name, Path(temporary))


def register(
    registry: ModelRegistry, model_name: str, model: onnx.ModelProto, inputs: np.ndarray, outputs: np.ndarray
) -> RegisteredVersion:
    """Register a model with golden inputs and outputs and point `deploy` at it."""
    with TemporaryDirectory() as temporary:
        directory = Path(temporary)
        save(directory, model, {"input/input": inputs, "output/output": outputs})
        return register_directory(registry, model_name, directory)


def save(directory: Path, model: onnx.ModelProto, golden: dict[str, Any], external: bool = False) -> None:
    """Write a model as mlflow.onnx lays it out, with its golden samples where there are any."""
    (directory / "MLmodel").write_text("flavors:\n  onnx:\n    data: model.onnx\n")
    location = "model.onnx.data" if external else None
    path = str(directory / "model.onnx")
    onnx.save(model, path, save_as_external_data=external, location=location, size_threshold=0)
    if golden:
        np.savez(directory / "golden.npz", **golden)


def register_directory(registry: ModelRegistry, model_name: str, directory: Path) -> RegisteredVersion:
    """Register a directory as a version of a model, whatever is in it, and point `deploy` at it."""
    client = registry.connect()
    if not client.search_registered_models(filter_string=f"name = '{model_name}'"):
        client.create_registered_model(model_name)
    experiment = mlflow.set_experiment("slipway-tests").experiment_id
    with mlflow.start_run(experiment_id=experiment, run_name=f"register {model_name}") as run:
        logged = mlflow.initialize_logged_model(name="model", source_run_id=run.info.run_id)
        with registry.transferring(f"files of model '{model_name}'"):
            client.log_model_artifacts(logged.model_id, str(directory))
        client.finalize_logged_model(logged.model_id, "READY")
        mlflow.log_metric("validation_max_diff", 0.0)
    tags = {f"sha256/{p.name}": hashlib.sha256(p.read_bytes()).hexdigest() for p in directory.glob("*.onnx")}
    created = client.create_model_version(
        model_name, f"models:/{logged.model_id}", run.info.run_id, tags=tags, model_id=logged.model_id
    )
    registry.set_alias(model_name, "deploy", int(created.version))
    return registry.get_version(model_name, int(created.version))
