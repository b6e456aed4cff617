"""An ONNX graph: its tensors, and what it takes and gives in Triton's data types."""

from collections.abc import Iterator, Sequence

import onnx
from onnx import TensorProto

from blocks.errors import UnusableModel, bounded
from slipway.formats.signature import Signature, TensorSpec

# What Triton's backend for ONNX Runtime takes and gives: BF16 is for weights alone, as numpy knows no such values.
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
}
_KINDS = {"sequence_type": "a sequence", "map_type": "a map", "optional_type": "an optional"}


def list_tensors(model: onnx.ModelProto) -> Iterator[tuple[TensorProto, bool]]:
    """Yield every tensor of a model, subgraphs and functions included, and whether it is a weight or a constant."""
    yield from _list_graph(model.graph)
    for function in model.functions:
        yield from _list_nodes(function.node)


def describe_graph(model: onnx.ModelProto, subject: str) -> Signature:
    """Return what a graph takes and gives; an input with a default is not asked for.

    Raises `UnusableModel` where Triton cannot serve one of them.
    """
    graph = model.graph
    weights = {tensor.name for tensor in graph.initializer} | {one.values.name for one in graph.sparse_initializer}
    inputs = tuple(_describe_value(value, subject) for value in graph.input if value.name not in weights)
    if not inputs:
        raise UnusableModel(f"{subject}: takes no input, so that there is nothing to ask it; expected one at least")
    opsets = [entry.version for entry in model.opset_import if entry.domain in {"", "ai.onnx"}]
    return Signature(
        inputs=inputs,
        outputs=tuple(_describe_value(value, subject) for value in graph.output),
        opset=max(opsets, default=0),
        producer=f"{model.producer_name} {model.producer_version}".strip(),
    )


def _list_graph(graph: onnx.GraphProto) -> Iterator[tuple[TensorProto, bool]]:
    for tensor in graph.initializer:
        yield tensor, True
    for sparse in graph.sparse_initializer:
        yield sparse.values, True
        yield sparse.indices, True
    yield from _list_nodes(graph.node)


def _list_nodes(nodes: Sequence[onnx.NodeProto]) -> Iterator[tuple[TensorProto, bool]]:
    for attribute in (attribute for node in nodes for attribute in node.attribute):
        for tensor in (*([attribute.t] if attribute.HasField("t") else []), *attribute.tensors):
            yield tensor, False
        sparse_ones = (*([attribute.sparse_tensor] if attribute.HasField("sparse_tensor") else []),)
        for sparse in (*sparse_ones, *attribute.sparse_tensors):
            yield sparse.values, False
            yield sparse.indices, False
        for subgraph in (*([attribute.g] if attribute.HasField("g") else []), *attribute.graphs):
            yield from _list_graph(subgraph)


def _describe_value(value: onnx.ValueInfoProto, subject: str) -> TensorSpec:
    name, kind = bounded(value.name, 200), value.type.tensor_type
    if value.type.WhichOneof("value") not in {"tensor_type", None}:
        raise UnusableModel(f"{subject}: tensor '{name}' is {_name_kind(value.type)}")
    dtype = _TRITON_TYPES.get(kind.elem_type)
    if dtype is None:
        raise UnusableModel(
            f"{subject}: tensor '{name}' is of ONNX type {_name_type(kind.elem_type)}, which Triton does not serve; "
            f"expected one of {', '.join(_TRITON_TYPES.values())}: export it again, with a cast"
        )
    if not kind.HasField("shape"):
        raise UnusableModel(
            f"{subject}: tensor '{name}' has no known rank, expected a shape, with names where an axis is dynamic; "
            "export it again with shapes"
        )
    shape = tuple(_read_axis(number, dim) for number, dim in enumerate(kind.shape.dim))
    if 0 in shape:
        raise UnusableModel(
            f"{subject}: tensor '{name}' is {list(shape)}, an axis of size 0 holds nothing; export it again"
        )
    return TensorSpec(name=value.name, dtype=dtype, shape=shape)


def _name_kind(found: onnx.TypeProto) -> str:
    """Return what a value is that is no tensor, and what to do about it."""
    kind = found.WhichOneof("value")
    if kind == "sequence_type" and found.sequence_type.elem_type.WhichOneof("value") == "map_type":
        return "a sequence of maps, expected a tensor; export with zipmap=False"
    return f"{_KINDS.get(kind, 'a sparse tensor')}, expected a tensor, which is all that Triton serves; export it again"


def _name_type(number: int) -> str:
    return TensorProto.DataType.Name(number) if number in TensorProto.DataType.values() else str(number)


def _read_axis(number: int, dim: onnx.TensorShapeProto.Dimension) -> int | str:
    """Return the size of an axis, or its name where it is dynamic, as one of negative size is to ONNX Runtime too."""
    if dim.HasField("dim_value") and dim.dim_value >= 0:
        return int(dim.dim_value)
    return dim.dim_param or f"axis_{number}"
