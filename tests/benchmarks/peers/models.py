"""The model that every contender deploys: a 45 MB ResNet18 in two versions, and a third whose file is cut in half.

It is registered so that old and new clients of MLflow find it: an artifact of a run, with the flavors onnx and pyfunc.
"""

import functools
from pathlib import Path
from tempfile import mkdtemp

import mlflow
import mlflow.onnx
import numpy as np
import onnx
import onnxruntime
import torch
from mlflow.models import infer_signature

from slipway.learning.resnet import ResNet18

CLASSES, SIDE = 10, 32
GOOD, BROKEN = (1, 2), 3
INPUT = np.random.default_rng(7).standard_normal((1, 3, SIDE, SIDE)).astype(np.float32).round(3)


@functools.cache
def write_version(version: int) -> Path:
    """Return a folder with a version as mlflow.onnx writes it, and golden samples beside it."""
    directory = Path(mkdtemp(prefix="slipway-peers-")) / "model"
    if version == BROKEN:
        whole = write_version(1)
        directory.mkdir()
        for file in whole.iterdir():
            (directory / file.name).write_bytes(file.read_bytes())
        content = (whole / "model.onnx").read_bytes()
        (directory / "model.onnx").write_bytes(content[: len(content) // 2])
        return directory
    model = _export(directory.parent / "exported.onnx", version)
    session = onnxruntime.InferenceSession(model.SerializeToString(), providers=["CPUExecutionProvider"])
    [output] = session.run(None, {"input": INPUT})
    signature = infer_signature({"input": INPUT}, {"output": output})
    # one file: of MLflow's default, weights in a second one, NVIDIA's plugin copies the first and the load fails
    packed = {"pip_requirements": ["onnxruntime"], "save_as_external_data": False}
    mlflow.onnx.save_model(model, directory, signature=signature, **packed)
    np.savez(directory / "golden.npz", **{"input/input": INPUT, "output/output": output})
    return directory


@functools.cache
def answer_of(version: int) -> np.ndarray:
    """Return what a good version gives for the one input that all are asked with."""
    found: np.ndarray = np.load(write_version(version) / "golden.npz")["output/output"][0]
    return found


def register(tracking_uri: str, model_name: str, directory: Path) -> int:
    """Register a folder as the next version of a model, and point `deploy` at it; return its number."""
    mlflow.set_tracking_uri(tracking_uri)
    client = mlflow.MlflowClient()
    if not client.search_registered_models(filter_string=f"name = '{model_name}'"):
        client.create_registered_model(model_name)
    experiment = mlflow.set_experiment("slipway-peers").experiment_id
    with mlflow.start_run(experiment_id=experiment, run_name=model_name) as run:
        mlflow.log_artifacts(str(directory), "model")
    created = client.create_model_version(model_name, f"{run.info.artifact_uri}/model", run.info.run_id)
    client.set_registered_model_alias(model_name, "deploy", created.version)
    return int(created.version)


def _export(path: Path, seed: int) -> onnx.ModelProto:
    torch.manual_seed(seed)
    example = torch.randn(4, 3, SIDE, SIDE)
    torch.onnx.export(
        ResNet18(CLASSES).eval(),
        (example,),
        str(path),
        input_names=["input"],
        output_names=["output"],
        dynamic_shapes=({0: torch.export.Dim("batch_size")},),
        external_data=False,
        verbose=False,
    )
    return onnx.load(str(path))
