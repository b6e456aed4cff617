"""A kind of model: how one is built, what it is asked, and what is right, computed in this process."""

import zlib
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, NamedTuple

import mlflow
import numpy as np
import onnx
import onnxruntime
from onnx import TensorProto, helper, numpy_helper
from onnx.external_data_helper import set_external_data

from tests.apparatus.models import save

F32, F64, F16, BF16 = TensorProto.FLOAT, TensorProto.DOUBLE, TensorProto.FLOAT16, TensorProto.BFLOAT16
I64, I32, I8, U8 = TensorProto.INT64, TensorProto.INT32, TensorProto.INT8, TensorProto.UINT8
BOOL, TEXT = TensorProto.BOOL, TensorProto.STRING
HALF_PRECISION = 2e-2

Tensors = dict[str, np.ndarray]
Types = Mapping[str, tuple[int, Any]]  # by the tensor's name, its type and its axes: sizes, names, or None
Asking = Callable[[np.random.Generator], Tensors]


class Exchange(NamedTuple):
    """One request, and the answer that is right."""

    inputs: Tensors
    outputs: Tensors


@dataclass(frozen=True)
class ModelKind:
    """A kind of model with all that is known of it, before anything is released."""

    name: str
    build: Callable[[int], onnx.ModelProto]  # of a seed: another one, other weights, where the kind has any
    ask: Asking
    is_batched: bool | None = None  # whether requests may be joined; None where it is refused before that
    samples: int = 0  # requests in golden.npz
    alter: Callable[[Tensors], Tensors] = dict  # what is done to the golden samples before they are written
    tags: Mapping[str, str] = field(default_factory=dict)  # of the registered version
    metrics: Mapping[str, float] = field(default_factory=dict)  # of its run
    input_shapes: Mapping[str, tuple[int, ...]] = field(default_factory=dict)  # given to the flow
    data_files: int = 0  # that hold the weights beside model.onnx
    has_example: bool = False  # logged by MLflow with an input example
    tolerance: float = 1e-3  # relative to the largest value of an output
    refused: str | None = None  # what the refusal says, as a regular expression

    def inputs(self, count: int) -> list[Tensors]:
        """Return different requests, the same ones at every call."""
        of_name = zlib.crc32(self.name.encode())
        return [self.ask(np.random.default_rng([of_name, number])) for number in range(count)]

    def requests(self, seed: int, count: int) -> list[Exchange]:
        """Return different requests with the answers that are right, each computed by itself."""
        session = open_session(self.build(seed))
        return [Exchange(inputs, answer(session, inputs)) for inputs in self.inputs(count)]

    def golden(self, seed: int) -> Tensors:
        """Return what golden.npz holds; the first axis counts rows where requests may be joined, else requests."""
        if not self.samples:
            return {}
        exchanges = self.requests(seed, self.samples)
        join = np.concatenate if self.is_batched else np.stack
        sides = (("input", [e.inputs for e in exchanges]), ("output", [e.outputs for e in exchanges]))
        return self.alter(
            {f"{side}/{name}": _write_text(join([t[name] for t in all_])) for side, all_ in sides for name in all_[0]}
        )

    @property
    def varies(self) -> bool:
        """Whether another seed gives another model."""
        return bool(self.build(1) != self.build(2))

    def save(self, directory: Path, seed: int) -> None:
        """Write the model as MLflow lays it out."""
        model = self.build(seed)
        if self.has_example:
            example = self.inputs(1)[0]
            mlflow.onnx.save_model(model, str(directory), input_example=example, save_as_external_data=False)
            return
        if self.data_files > 1:
            for number, tensor in enumerate(model.graph.initializer):
                set_external_data(tensor, f"weights-{number % self.data_files}.data")
        save(directory, model, self.golden(seed), external=self.data_files == 1)


def open_session(model: onnx.ModelProto) -> onnxruntime.InferenceSession:
    """Return a session of this process, with one thread, on the processor."""
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = options.inter_op_num_threads = 1
    options.log_severity_level = 3
    return onnxruntime.InferenceSession(model.SerializeToString(), options, providers=["CPUExecutionProvider"])


def answer(session: onnxruntime.InferenceSession, inputs: Tensors) -> Tensors:
    """Return the outputs for one request, by name."""
    names = [tensor.name for tensor in session.get_outputs()]
    values = session.run(names, inputs)
    return {name: np.asarray(value) for name, value in zip(names, values, strict=True)}


def node(operator: str, inputs: str, outputs: str, **attributes: Any) -> onnx.NodeProto:
    """Return a node; names with a space between each, an operator of ai.onnx.ml as `ml.Name`."""
    domain = "ai.onnx.ml" if operator.startswith("ml.") else ""
    name = operator.removeprefix("ml.")
    return helper.make_node(name, inputs.split(), outputs.split(), domain=domain, **attributes)


def build_model(
    nodes: Sequence[onnx.NodeProto], inputs: Types, outputs: Types, weights: Mapping[str, Any] | None = None
) -> onnx.ModelProto:
    """Return a model of these nodes; weights are arrays, or tensors where numpy lacks their type."""
    tensors = [
        value if isinstance(value, TensorProto) else numpy_helper.from_array(np.asarray(value), name)
        for name, value in (weights or {}).items()
    ]
    graph = helper.make_graph(nodes, "kind", _values(inputs), _values(outputs), tensors)
    imports = [helper.make_opsetid("", 20), helper.make_opsetid("ai.onnx.ml", 3)]
    return helper.make_model(graph, opset_imports=imports, ir_version=10)


def random_weights(seed: int, *shape: int) -> np.ndarray:
    """Return FP32 weights that keep values as large as they are."""
    weights = np.random.default_rng(seed).standard_normal(shape).astype(np.float32)
    return weights / np.float32(np.sqrt(shape[0]))


def normal(**shapes: Sequence[int]) -> Asking:
    """Return what asks with normal FP32 noise of these shapes."""
    return lambda random: {
        name: random.standard_normal(tuple(shape)).astype(np.float32) for name, shape in shapes.items()
    }


def normal_rows(**shapes: Sequence[int]) -> Asking:
    """Return what asks with one to three rows of normal FP32 noise, each of these shapes."""

    def ask(random: np.random.Generator) -> Tensors:
        rows = count_rows(random)
        return normal(**{name: (rows, *shape) for name, shape in shapes.items()})(random)

    return ask


def count_rows(random: np.random.Generator) -> int:
    """Return how many rows a request has."""
    return int(random.integers(1, 4))


def _values(types: Types) -> list[onnx.ValueInfoProto]:
    return [helper.make_tensor_value_info(name, kind, axes) for name, (kind, axes) in types.items()]


def _write_text(array: np.ndarray) -> np.ndarray:
    return array.astype(np.str_) if array.dtype == object else array


def named(kinds: Iterable[ModelKind]) -> dict[str, ModelKind]:
    """Return kinds by their names."""
    return {kind.name: kind for kind in kinds}
