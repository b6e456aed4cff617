"""An ONNX model on disk: its files, its signature, and whether it is safe and sound to serve.

Nothing here runs the model, and weights in external data are read in chunks, never held in memory.
"""

import math
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import onnx
from google.protobuf.message import DecodeError
from onnx import TensorProto
from onnx.external_data_helper import ExternalDataInfo, uses_external_data
from pydantic import BaseModel, ConfigDict, Field

from blocks.errors import UnusableModel, bounded

MODEL_FILE = "model.onnx"
_CHUNK_BYTES = 1024**2
_TRITON_TYPES: dict[int, str] = {
    TensorProto.BOOL: "BOOL",
    TensorProto.UINT8: "UINT8",
    TensorProto.UINT16: "UINT16",
    TensorProto.UINT32: "UINT32",
    TensorProto.UINT64: "UINT64",
    TensorProto.INT8: "INT8",
    TensorProto.INT16: "INT16",
    TensorProto.INT32: "INT32",
    TensorProto.INT64: "INT64",
    TensorProto.FLOAT16: "FP16",
    TensorProto.FLOAT: "FP32",
    TensorProto.DOUBLE: "FP64",
    TensorProto.STRING: "BYTES",
    TensorProto.BFLOAT16: "BF16",
}
_FLOATS = {TensorProto.FLOAT16, TensorProto.FLOAT, TensorProto.DOUBLE, TensorProto.BFLOAT16}
_TAKEN = {MODEL_FILE, "metadata.json"}  # what else is in a version's directory


class TensorSpec(BaseModel):
    """A model's input or output."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    name: str
    dtype: str = Field(description="Triton's data type, say FP32.")
    shape: tuple[int | str, ...] = Field(description="One entry an axis; a name where the axis is dynamic.")

    def accepts(self, shape: tuple[int, ...]) -> bool:
        """Tell whether a concrete shape fits, dynamic axes taking any size."""
        fits = (isinstance(axis, str) or axis == size for axis, size in zip(self.shape, shape, strict=False))
        return len(shape) == len(self.shape) and all(fits)


class ModelSignature(BaseModel):
    """What a model takes and gives."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    inputs: tuple[TensorSpec, ...]
    outputs: tuple[TensorSpec, ...]
    opset: int
    producer: str = ""

    @property
    def batched(self) -> bool:
        """Whether the first axis of every tensor is dynamic, so that Triton may batch requests."""
        tensors = (*self.inputs, *self.outputs)
        return all(tensor.shape and isinstance(tensor.shape[0], str) for tensor in tensors)


def read_signature(directory: Path, subject: str) -> ModelSignature:
    """Check the model in a directory and return its signature; `UnusableModel` says what is wrong with it.

    Args:
        directory: holds model.onnx and its external data, if any.
        subject: names the model in messages.
    """
    model = _parsed(directory / MODEL_FILE, subject)
    for tensor in _tensors(model.graph):
        _check_tensor(tensor, directory, subject)
    try:
        onnx.checker.check_model(str(directory / MODEL_FILE))
    except (onnx.checker.ValidationError, ValueError, TypeError, RuntimeError) as error:
        raise UnusableModel(f"{subject}: not a valid ONNX model ({bounded(error)}); export it again") from error
    return _signature(model, subject)


def external_files(directory: Path, subject: str) -> tuple[str, ...]:
    """Return the names of the external data files a model refers to, each inside its directory."""
    model = _parsed(directory / MODEL_FILE, subject)
    found = (_external(tensor, directory, subject) for tensor in _tensors(model.graph) if uses_external_data(tensor))
    return tuple(sorted({_file_name(info.location) for info in found}))


def is_plain_file(path: Path) -> bool:
    """Tell whether a path, which may be any text, names a file that is no link."""
    try:
        return path.is_file() and not path.is_symlink()
    except (OSError, ValueError):  # longer than names may be, or with a zero byte
        return False


def _parsed(path: Path, subject: str) -> onnx.ModelProto:
    if not is_plain_file(path):
        raise UnusableModel(f"{subject}: has no file {path.name}; expected an ONNX model logged by MLflow")
    try:
        model = onnx.load(str(path), load_external_data=False)
    except (DecodeError, ValueError, OSError) as error:
        raise UnusableModel(
            f"{subject}: {path.name} of {path.stat().st_size} bytes is no ONNX protobuf, it is corrupt or truncated; "
            "register it again"
        ) from error
    if not model.graph.output:
        raise UnusableModel(f"{subject}: {path.name} holds no graph with outputs; register it again")
    return model


def _tensors(graph: onnx.GraphProto) -> Iterator[TensorProto]:
    yield from graph.initializer
    for node in graph.node:
        for attribute in node.attribute:
            if attribute.HasField("t"):
                yield attribute.t
            yield from attribute.tensors
            for subgraph in (*([attribute.g] if attribute.HasField("g") else []), *attribute.graphs):
                yield from _tensors(subgraph)


def _external(tensor: TensorProto, directory: Path, subject: str) -> ExternalDataInfo:
    """Return where a tensor's values are, which is a file beside the model."""
    try:
        info = ExternalDataInfo(tensor)
    except ValueError as error:
        raise UnusableModel(
            f"{subject}: weight '{bounded(tensor.name, 200)}' says {bounded(error)} of its external data, expected "
            "numbers as offset and length; export it again"
        ) from error
    name = _file_name(info.location)
    if name in {"", ".", ".."} or "/" in name or "\\" in name or not name.isprintable() or name in _TAKEN:
        raise UnusableModel(
            f"{subject}: external data at {bounded(repr(info.location), 200)}, expected a file of its own beside "
            f"{MODEL_FILE}; a model may not point outside its directory: export it again"
        )
    if not is_plain_file(directory / name):
        raise UnusableModel(
            f"{subject}: external data file {bounded(repr(info.location), 200)} is missing; register the model with it"
        )
    return info


def _file_name(location: str) -> str:
    return location.removeprefix("./")


def _check_tensor(tensor: TensorProto, directory: Path, subject: str) -> None:
    try:
        if uses_external_data(tensor):
            values = _external_chunks(tensor, _external(tensor, directory, subject), directory, subject)
        else:
            values = iter([onnx.numpy_helper.to_array(tensor)] if tensor.data_type in _FLOATS else [])
        onnx.helper.tensor_dtype_to_np_dtype(tensor.data_type)  # a KeyError where there is no such type
        holds_nan = tensor.data_type in _FLOATS and any(bool(np.isnan(chunk).any()) for chunk in values)
    except (ValueError, TypeError, KeyError, OverflowError, MemoryError) as error:
        raise UnusableModel(
            f"{subject}: weight '{bounded(tensor.name, 200)}' cannot be read ({bounded(error)}); export it again"
        ) from error
    if holds_nan:
        raise UnusableModel(f"{subject}: weight '{tensor.name}' holds NaN; the training went wrong, train it again")


def _external_chunks(
    tensor: TensorProto, info: ExternalDataInfo, directory: Path, subject: str
) -> Iterator[np.ndarray]:
    path = directory / info.location
    dtype = onnx.helper.tensor_dtype_to_np_dtype(tensor.data_type)
    offset = info.offset or 0
    end = offset + math.prod(tensor.dims) * dtype.itemsize
    if not 0 <= offset <= end or min(tensor.dims, default=0) < 0:
        raise ValueError(f"{dtype} {list(tensor.dims)} from byte {offset} on")
    if end > path.stat().st_size:
        raise UnusableModel(
            f"{subject}: {info.location} has {path.stat().st_size} bytes, weight '{tensor.name}' ends at byte {end}; "
            "the file is truncated: register the model again"
        )
    step = _CHUNK_BYTES - _CHUNK_BYTES % dtype.itemsize
    for start in range(offset, end, step):
        yield np.fromfile(path, dtype=dtype, count=min(step, end - start) // dtype.itemsize, offset=start)


def _signature(model: onnx.ModelProto, subject: str) -> ModelSignature:
    weights = {tensor.name for tensor in model.graph.initializer}
    inputs = tuple(_spec(value, subject) for value in model.graph.input if value.name not in weights)
    if not inputs:
        raise UnusableModel(f"{subject}: takes no input, so that there is nothing to ask it; expected one at least")
    opsets = [entry.version for entry in model.opset_import if entry.domain in {"", "ai.onnx"}]
    return ModelSignature(
        inputs=inputs,
        outputs=tuple(_spec(value, subject) for value in model.graph.output),
        opset=max(opsets, default=0),
        producer=f"{model.producer_name} {model.producer_version}".strip(),
    )


def _spec(value: onnx.ValueInfoProto, subject: str) -> TensorSpec:
    kind = value.type.tensor_type
    dtype = _TRITON_TYPES.get(kind.elem_type)
    if dtype is None:
        raise UnusableModel(
            f"{subject}: tensor '{value.name}' is of ONNX type {kind.elem_type}, which Triton does not serve; "
            f"expected one of {', '.join(_TRITON_TYPES.values())}"
        )
    shape = tuple(_axis(number, dim) for number, dim in enumerate(kind.shape.dim))
    if 0 in shape:
        raise UnusableModel(
            f"{subject}: tensor '{value.name}' is {list(shape)}, an axis of size 0 holds nothing; export it again"
        )
    return TensorSpec(name=value.name, dtype=dtype, shape=shape)


def _axis(number: int, dim: onnx.TensorShapeProto.Dimension) -> int | str:
    """Return the size of an axis, or its name where it is dynamic, as one of negative size is to ONNX Runtime too."""
    if dim.HasField("dim_value") and dim.dim_value >= 0:
        return int(dim.dim_value)
    return dim.dim_param or f"axis_{number}"
