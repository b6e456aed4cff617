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

from blocks.errors import UnusableModel, bounded
from blocks.labels import METADATA_FILE, MODEL_FILE
from slipway.formats.contents import Contents, is_plain_file
from slipway.formats.mlmodel import find_model_file
from slipway.formats.signature import Signature, TensorSpec

BACKEND = "onnxruntime"
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
_TAKEN = {MODEL_FILE, METADATA_FILE}  # what else is in a version's directory


class Onnx:
    """A model logged with `mlflow.onnx`: one graph, its weights in it or in files beside it."""

    flavor = "onnx"

    def arrange(self, directory: Path, subject: str) -> None:
        """Give the model file Triton's name for it, as MLmodel says which file it is, never by looking for one."""
        found = find_model_file(directory, self.flavor, subject)
        if found.name != MODEL_FILE:
            found.rename(directory / MODEL_FILE)

    def open(self, directory: Path, subject: str) -> Contents:
        """Check the graph and all weights, and say what it takes and gives."""
        files = (MODEL_FILE, *find_external_files(directory, subject))
        signature = read_signature(directory, subject)
        return Contents(
            backend=BACKEND,
            model_file=MODEL_FILE,
            files=files,
            signature=signature,
            facts={"format": "onnx", "opset": signature.opset, "producer": signature.producer},
        )


def read_signature(directory: Path, subject: str) -> Signature:
    """Check the model in a directory and return its signature; `UnusableModel` says what is wrong with it.

    Args:
        directory: holds model.onnx and its external data, if any.
        subject: names the model in messages.
    """
    model = _parse(directory / MODEL_FILE, subject)
    for tensor in _walk_tensors(model.graph):
        _check_tensor(tensor, directory, subject)
    try:
        onnx.checker.check_model(str(directory / MODEL_FILE))
    except (onnx.checker.ValidationError, ValueError, TypeError, RuntimeError) as error:
        raise UnusableModel(f"{subject}: not a valid ONNX model ({bounded(error)}); export it again") from error
    return _describe(model, subject)


def find_external_files(directory: Path, subject: str) -> tuple[str, ...]:
    """Return the names of the external data files a model refers to, each inside its directory."""
    model = _parse(directory / MODEL_FILE, subject)
    found = (
        _find_external(tensor, directory, subject)
        for tensor in _walk_tensors(model.graph)
        if uses_external_data(tensor)
    )
    return tuple(sorted({_strip_here(info.location) for info in found}))


def _parse(path: Path, subject: str) -> onnx.ModelProto:
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


def _walk_tensors(graph: onnx.GraphProto) -> Iterator[TensorProto]:
    yield from graph.initializer
    for node in graph.node:
        for attribute in node.attribute:
            if attribute.HasField("t"):
                yield attribute.t
            yield from attribute.tensors
            for subgraph in (*([attribute.g] if attribute.HasField("g") else []), *attribute.graphs):
                yield from _walk_tensors(subgraph)


def _find_external(tensor: TensorProto, directory: Path, subject: str) -> ExternalDataInfo:
    """Return where a tensor's values are, which is a file beside the model."""
    try:
        info = ExternalDataInfo(tensor)
    except ValueError as error:
        raise UnusableModel(
            f"{subject}: weight '{bounded(tensor.name, 200)}' says {bounded(error)} of its external data, expected "
            "numbers as offset and length; export it again"
        ) from error
    name = _strip_here(info.location)
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


def _strip_here(location: str) -> str:
    return location.removeprefix("./")


def _check_tensor(tensor: TensorProto, directory: Path, subject: str) -> None:
    try:
        if uses_external_data(tensor):
            values = _read_chunks(tensor, _find_external(tensor, directory, subject), directory, subject)
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


def _read_chunks(tensor: TensorProto, info: ExternalDataInfo, directory: Path, subject: str) -> Iterator[np.ndarray]:
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


def _describe(model: onnx.ModelProto, subject: str) -> Signature:
    weights = {tensor.name for tensor in model.graph.initializer}
    inputs = tuple(_describe_tensor(value, subject) for value in model.graph.input if value.name not in weights)
    if not inputs:
        raise UnusableModel(f"{subject}: takes no input, so that there is nothing to ask it; expected one at least")
    opsets = [entry.version for entry in model.opset_import if entry.domain in {"", "ai.onnx"}]
    return Signature(
        inputs=inputs,
        outputs=tuple(_describe_tensor(value, subject) for value in model.graph.output),
        opset=max(opsets, default=0),
        producer=f"{model.producer_name} {model.producer_version}".strip(),
    )


def _describe_tensor(value: onnx.ValueInfoProto, subject: str) -> TensorSpec:
    kind = value.type.tensor_type
    dtype = _TRITON_TYPES.get(kind.elem_type)
    if dtype is None:
        raise UnusableModel(
            f"{subject}: tensor '{value.name}' is of ONNX type {kind.elem_type}, which Triton does not serve; "
            f"expected one of {', '.join(_TRITON_TYPES.values())}"
        )
    shape = tuple(_read_axis(number, dim) for number, dim in enumerate(kind.shape.dim))
    if 0 in shape:
        raise UnusableModel(
            f"{subject}: tensor '{value.name}' is {list(shape)}, an axis of size 0 holds nothing; export it again"
        )
    return TensorSpec(name=value.name, dtype=dtype, shape=shape)


def _read_axis(number: int, dim: onnx.TensorShapeProto.Dimension) -> int | str:
    """Return the size of an axis, or its name where it is dynamic, as one of negative size is to ONNX Runtime too."""
    if dim.HasField("dim_value") and dim.dim_value >= 0:
        return int(dim.dim_value)
    return dim.dim_param or f"axis_{number}"
