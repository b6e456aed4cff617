"""Triton directories: Python backends, what they call, ensembles, and what lies beside a version's files."""

import numpy as np

from tests.apparatus.kinds.directory_kind import DirectoryKind, Part
from tests.apparatus.kinds.kind import Tensors, count_rows, normal, normal_rows
from tests.apparatus.models import linear_model, random_weights

ROWS = normal_rows(input=(4,))
_MODEL = """
import json
import os

import numpy as np
import triton_python_backend_utils as pb_utils


class TritonPythonModel:
    def initialize(self, args):
        self.directory, self.config = args["model_repository"], json.loads(args["model_config"])

    def execute(self, requests):
        return [self.answer(request) for request in requests]

    def answer(self, request):
        def read(name):
            tensor = pb_utils.get_input_tensor_by_name(request, name)
            return None if tensor is None else tensor.as_numpy()

BODY
        return pb_utils.InferenceResponse([pb_utils.Tensor("output", output)])
"""
_CALL = """
pinned = self.config["parameters"]["slipway.depends_on"]["string_value"]
name, _, version = pinned.partition(":")
asked = pb_utils.InferenceRequest(
    model_name=name, model_version=int(version), requested_output_names=["output"],
    inputs=[pb_utils.Tensor("input", read("input"))])
given = asked.exec()
if given.has_error():
    return pb_utils.InferenceResponse(error=pb_utils.TritonError(given.error().message()))
output = pb_utils.get_output_tensor_by_name(given, "output").as_numpy() + np.float32(SEED)
"""


def python_code(body: str) -> str:
    """Return a model.py that computes `output` from `read(name)`."""
    indented = "\n".join(f"        {line}" for line in body.strip().splitlines())
    return _MODEL.replace("BODY", indented)


def describe(
    backend: str = "python", batch: int = 8, takes: str = "4", gives: str = "4", dtype: str = "FP32", more: str = ""
) -> str:
    """Return a config.pbtxt of `input` and `output`."""
    return f"""
{"platform" if backend == "ensemble" else "backend"}: "{backend}"
max_batch_size: {batch}
input [ {{ name: "input" data_type: TYPE_{dtype} dims: [ {takes} ] }} ]
output [ {{ name: "output" data_type: TYPE_{dtype} dims: [ {gives} ] }} ]
{"dynamic_batching { }" if batch and backend != "ensemble" else ""}
{more}
"""


def python(body: str, config: str, name: str = "MODEL", **beside: str) -> Part:
    """Return a part of the Python backend."""
    return Part(name, lambda seed: config, lambda seed: {"1/model.py": python_code(body), **beside})


def ensemble(name: str, first: str, second: str) -> Part:
    """Return a part that is an ensemble of two models, one after the other, whose folder is empty."""
    steps = ", ".join(
        f'{{ model_name: "{model}" model_version: -1 input_map {{ key: "input" value: "{takes}" }} '
        f'output_map {{ key: "output" value: "{gives}" }} }}'
        for model, takes, gives in ((first, "input", "between"), (second, "between", "output"))
    )
    config = describe("ensemble", gives="3", more=f"ensemble_scheduling {{ step [ {steps} ] }}")
    return Part(name, lambda seed: config, lambda seed: {"1/.keep": ""})


def linear_bytes(seed: int) -> bytes:
    """Return the linear ONNX model of a seed."""
    return bytes(linear_model(random_weights(seed)).SerializeToString())


LINEAR = Part(
    "linear-MODEL", lambda seed: describe("onnxruntime", gives="3"), lambda seed: {"1/model.onnx": linear_bytes(seed)}
)
ADDING = python("output = read('input') + np.float32(SEED)", describe(takes="3", gives="3"), "adding-MODEL")
INNER = ensemble("innerSEED-MODEL", "linear-MODEL", "adding-MODEL")
SLOW = "import time\ntime.sleep(0.01)\noutput = read('input') * np.float32(SEED)"


def compute_linear(seed: int, inputs: Tensors) -> Tensors:
    return {"output": inputs["input"] @ random_weights(seed)}


def add(times: int, seed: int, inputs: Tensors) -> Tensors:
    return {"output": compute_linear(seed, inputs)["output"] + np.float32(times * seed)}


def multiply(seed: int, inputs: Tensors) -> Tensors:
    return {"output": inputs["input"] * np.float32(seed)}


def centre(seed: int, inputs: Tensors) -> Tensors:
    given = inputs["input"]
    return {"output": (given - given.mean(axis=0, keepdims=True)) * np.float32(seed)}


def ask_words(random: np.random.Generator) -> Tensors:
    words = np.array([f"süd {number}" for number in random.integers(0, 1000, (count_rows(random), 2)).ravel()], object)
    return {"input": words.reshape(-1, 2)}


def count_letters(seed: int, inputs: Tensors) -> Tensors:
    texts = [f"{seed} {text.upper()}" for text in inputs["input"].ravel()]
    return {"output": np.array(texts, object).reshape(inputs["input"].shape)}


def ask_optionally(random: np.random.Generator) -> Tensors:
    """Ask for a multiple, or without a factor."""
    asked = ROWS(random)
    return asked | ({"factor": np.full_like(asked["input"][:, :1], 3)} if random.random() < 0.5 else {})


def multiply_optionally(seed: int, inputs: Tensors) -> Tensors:
    return {"output": inputs["input"] * inputs.get("factor", np.float32(2)) * np.float32(seed)}


def ask_lengths(random: np.random.Generator) -> Tensors:
    return normal(input=(count_rows(random), int(random.choice([3, 17, 40]))))(random)


def accumulate(seed: int, inputs: Tensors) -> Tensors:
    return {"output": np.cumsum(inputs["input"], axis=1, dtype=np.float32) * np.float32(seed)}


def write_versions(seed: int) -> dict[str, str | bytes]:
    """Return three versions, of which the policy serves the first and the second: that one would answer."""
    return {"1/model.onnx": linear_bytes(7), "2/model.onnx": linear_bytes(seed), "3/model.onnx": linear_bytes(8)}


SERVED = "version_policy { specific { versions: [1, 2] } }"
TWO = "instance_group [ { count: 2 kind: KIND_CPU } ]"
FACTOR = "factor = np.float32(open(os.path.join(self.directory, 'factor.txt')).read())\noutput = read('input') * factor"
OPTIONAL = (
    "factor = read('factor')\noutput = read('input') * (np.float32(2) if factor is None else factor) * np.float32(SEED)"
)
OPTIONAL_CONFIG = describe(more='input [ { name: "factor" data_type: TYPE_FP32 dims: [ 1 ] optional: true } ]')
WORDS = (
    "texts = [f'SEED {each.decode().upper()}'.encode() for each in read('input').ravel()]\n"
    "output = np.array(texts, object).reshape(read('input').shape)"
)
CENTRE = "given = read('input')\noutput = (given - given.mean(axis=0, keepdims=True)) * np.float32(SEED)"

DIRECTORY_KINDS = (
    DirectoryKind(
        "Python backend with a file beside it",
        (
            Part(
                "MODEL",
                lambda seed: describe(),
                lambda seed: {
                    "1/model.py": python_code(FACTOR),
                    "factor.txt": str(seed),
                },
            ),
        ),
        ROWS,
        multiply,
        may_stay=False,
    ),
    DirectoryKind(
        "Python backend without batches",
        (python(CENTRE, describe(batch=0, takes="-1, 4", gives="-1, 4")),),
        ROWS,
        centre,
        is_batched=False,
    ),
    DirectoryKind("several instances", (python(SLOW, describe(more=TWO)),), ROWS, multiply),
    DirectoryKind(
        "Python backend that calls another model",
        (
            LINEAR,
            python(
                _CALL,
                describe(
                    gives="3",
                    more='parameters { key: "slipway.depends_on" value { string_value: "linear-MODEL" } }' + TWO,
                ),
            ),
        ),
        ROWS,
        lambda seed, inputs: add(1, seed, inputs),
        may_stay=False,
    ),
    DirectoryKind(
        "ensemble of ONNX and Python",
        (
            LINEAR,
            ADDING,
            ensemble("MODEL", "linear-MODEL", "adding-MODEL"),
        ),
        ROWS,
        lambda seed, inputs: add(1, seed, inputs),
        may_stay=False,
    ),
    DirectoryKind(
        "ensemble of an ensemble",
        (
            LINEAR,
            ADDING,
            INNER,
            ensemble("MODEL", "innerSEED-MODEL", "adding-MODEL"),
        ),
        ROWS,
        lambda seed, inputs: add(2, seed, inputs),
        may_stay=False,
    ),
    DirectoryKind(
        "several versions in one directory",
        (
            Part(
                "MODEL",
                lambda seed: describe(
                    "onnxruntime", gives="3", more="version_policy { specific { versions: [1, 2] } }"
                ),
                write_versions,
            ),
        ),
        ROWS,
        compute_linear,
    ),
    DirectoryKind(
        "labels",
        (
            Part(
                "MODEL",
                lambda seed: describe("onnxruntime", gives="3").replace(
                    "dims: [ 3 ]", 'dims: [ 3 ] label_filename: "labels.txt"'
                ),
                lambda seed: {"1/model.onnx": linear_bytes(seed), "labels.txt": f"cat {seed}\ndog {seed}\nbird\n"},
            ),
        ),
        ROWS,
        compute_linear,
        may_stay=False,
    ),
    DirectoryKind(
        "optional input of a Python backend", (python(OPTIONAL, OPTIONAL_CONFIG),), ask_optionally, multiply_optionally
    ),
    DirectoryKind(
        "text in and out of a Python backend",
        (python(WORDS, describe(takes="2", gives="2", dtype="STRING")),),
        ask_words,
        count_letters,
    ),
    DirectoryKind(
        "rows of any length",
        (
            python(
                "output = np.cumsum(read('input'), axis=1, dtype=np.float32) * np.float32(SEED)",
                describe(takes="-1", gives="-1", more=TWO),
            ),
        ),
        ask_lengths,
        accumulate,
    ),
)
