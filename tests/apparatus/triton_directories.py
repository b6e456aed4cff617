"""Triton model directories: complete ones of several backends, as their authors lay them out."""

from pathlib import Path

import onnx

from tests.apparatus.models import linear_model, random_weights

# FP32 [batch, 4] in, its double out
DOUBLING = """
import triton_python_backend_utils as pb_utils


class TritonPythonModel:
    def execute(self, requests):
        answers = []
        for request in requests:
            given = pb_utils.get_input_tensor_by_name(request, "input").as_numpy()
            answers.append(pb_utils.InferenceResponse([pb_utils.Tensor("output", given * 2)]))
        return answers
"""
TENSORS = """
input [ { name: "input" data_type: TYPE_FP32 dims: [ 4 ] } ]
output [ { name: "output" data_type: TYPE_FP32 dims: [ 4 ] } ]
"""
PYTHON_CONFIG = f'backend: "python"\nmax_batch_size: 8\n{TENSORS}'
LINEAR_CONFIG = f'platform: "onnxruntime_onnx"\nmax_batch_size: 8\n{TENSORS}'.replace(
    'name: "output" data_type: TYPE_FP32 dims: [ 4 ]', 'name: "output" data_type: TYPE_FP32 dims: [ 3 ]'
)
ENSEMBLE_CONFIG = f"""
platform: "ensemble"
max_batch_size: 8
{TENSORS}
ensemble_scheduling {{
  step [
    {{ model_name: "first" model_version: -1
       input_map {{ key: "input" value: "input" }} output_map {{ key: "output" value: "between" }} }},
    {{ model_name: "second" model_version: -1
       input_map {{ key: "input" value: "between" }} output_map {{ key: "output" value: "output" }} }}
  ]
}}
"""


def write_directory(directory: Path, config: str | None, files: dict[str, str | bytes]) -> Path:
    """Write a model directory of a configuration and files by their paths; returns it."""
    directory.mkdir(parents=True, exist_ok=True)
    for name, content in files.items():
        path = directory / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(content if isinstance(content, bytes) else content.encode())
    if config is not None:
        (directory / "config.pbtxt").write_text(config)
    return directory


def write_python_model(directory: Path, config: str = PYTHON_CONFIG) -> Path:
    """Write a model of the Python backend that doubles what it is given."""
    return write_directory(directory, config, {"1/model.py": DOUBLING})


def write_onnx_model(directory: Path, config: str | None = None) -> Path:
    """Write a linear ONNX model, with a configuration or without one."""
    return write_directory(directory, config, {"1/model.onnx": linear_bytes()})


def linear_bytes() -> bytes:
    """Return the linear model: FP32 [batch, 4] in, [batch, 3] out."""
    model: onnx.ModelProto = linear_model(random_weights(1))
    return bytes(model.SerializeToString())


def write_logged(artifact: Path, data: str = "model") -> Path:
    """Write the MLmodel of a directory logged with the flavor triton; returns where the model's directory belongs."""
    artifact.mkdir(parents=True, exist_ok=True)
    (artifact / "MLmodel").write_text(f"flavors:\n  triton:\n    data: {data}\n")
    return artifact / data


def call_one(model_name: str) -> str:
    """Return the config.pbtxt of an ensemble of one step, a linear model whose version is left open."""
    tensors = "name: 'input' data_type: TYPE_FP32 dims: [4]", "name: 'output' data_type: TYPE_FP32 dims: [3]"
    maps = "input_map { key: 'input' value: 'input' } output_map { key: 'output' value: 'output' }"
    return (
        f"platform: 'ensemble' max_batch_size: 8 input [ {{ {tensors[0]} }} ] output [ {{ {tensors[1]} }} ] "
        f"ensemble_scheduling {{ step [ {{ model_name: '{model_name}' model_version: -1 {maps} }} ] }}"
    )
