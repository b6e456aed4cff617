"""Models whose requests must not be joined, though the first axis of most of them is free."""

import numpy as np
from onnx import ModelProto

from tests.apparatus.kinds.kind import F32, I64, ModelKind, Tensors, build_model, node, normal, random_weights

LAST, FIRST = np.array([1], np.int64), np.array([0], np.int64)


def remember_sequences(seed: int) -> ModelProto:
    """Return a causal network over [time, batch, 3]: the first axis is time, and what comes later depends on it."""
    nodes = [node("RNN", "frames from_input from_state", "states", hidden_size=4), node("Squeeze", "states one", "out")]
    weights = {
        "from_input": random_weights(seed, 1, 4, 3),
        "from_state": random_weights(seed + 1, 1, 4, 4),
        "one": LAST,
    }
    axes = {"frames": (F32, ["time", "batch", 3])}, {"out": (F32, ["time", "batch", 4])}
    return build_model(nodes, *axes, weights)


def pass_messages(seed: int) -> ModelProto:
    return _pass_messages(seed, "nodes", "edges")


def pass_messages_over_unnamed_axes(seed: int) -> ModelProto:
    return _pass_messages(seed, None, None)


def _pass_messages(seed: int, node_axis: str | None, edge_axis: str | None) -> ModelProto:
    """Return for each node its own features and those of the nodes that edges lead from, weighed."""
    nodes = [
        node("Gather", "edges from_column", "sources", axis=1),
        node("Gather", "edges to_column", "targets", axis=1),
        node("Gather", "features sources", "messages"),
        node("Unsqueeze", "targets one", "places"),
        node("ScatterND", "features places messages", "received", reduction="add"),
        node("MatMul", "received weights", "scores"),
    ]
    weights = {
        "from_column": np.array(0, np.int64),
        "to_column": np.array(1, np.int64),
        "one": LAST,
        "weights": random_weights(seed, 3, 2),
    }
    inputs = {"features": (F32, [node_axis, 3]), "edges": (I64, [edge_axis, 2])}
    return build_model(nodes, inputs, {"scores": (F32, [node_axis, 2])}, weights)


def ask_graph(random: np.random.Generator) -> Tensors:
    return {**normal(features=(5, 3))(random), "edges": random.integers(0, 5, (7, 2))}


def ask_graph_with_an_edge_a_node(random: np.random.Generator) -> Tensors:
    return {**normal(features=(5, 3))(random), "edges": random.integers(0, 5, (5, 2))}


def subtract_mean_of_batch(seed: int) -> ModelProto:
    nodes = [
        node("MatMul", "features weights", "scores"),
        node("ReduceMean", "scores first", "mean", keepdims=1),
        node("Sub", "scores mean", "centred"),
    ]
    weights = {"weights": random_weights(seed, 4, 3), "first": FIRST}
    return build_model(nodes, {"features": (F32, ["n", 4])}, {"centred": (F32, ["n", 3])}, weights)


def normalize_over_rows(seed: int) -> ModelProto:
    nodes = [node("MatMul", "features weights", "scores"), node("Softmax", "scores", "shares", axis=0)]
    weights = {"weights": random_weights(seed, 4, 3)}
    return build_model(nodes, {"features": (F32, ["n", 4])}, {"shares": (F32, ["n", 3])}, weights)


def pool_over_rows(seed: int) -> ModelProto:
    nodes = [node("MatMul", "features weights", "scores"), node("ReduceMax", "scores first", "pooled", keepdims=0)]
    weights = {"weights": random_weights(seed, 4, 3), "first": FIRST}
    return build_model(nodes, {"features": (F32, ["n", 4])}, {"pooled": (F32, [3])}, weights)


def match_documents(seed: int) -> ModelProto:
    nodes = [
        node("MatMul", "queries weights", "projected"),
        node("Transpose", "documents", "columns", perm=[1, 0]),
        node("MatMul", "projected columns", "scores"),
    ]
    inputs = {"queries": (F32, ["q", 8]), "documents": (F32, ["d", 8])}
    return build_model(nodes, inputs, {"scores": (F32, ["q", "d"])}, {"weights": random_weights(seed, 8, 8)})


def ask_documents(random: np.random.Generator) -> Tensors:
    queries, documents = random.integers(1, 5, 2)
    return normal(queries=(queries, 8), documents=(documents, 8))(random)


def hear_at_rate(seed: int) -> ModelProto:
    """Return a score of audio, of which `sr`, one number without an axis, gives the samples a second."""
    nodes = [
        node("Cast", "sr", "rate", to=F32),
        node("Div", "rate usual", "stretch"),
        node("ReduceMean", "audio last", "mean", keepdims=1),
        node("Mul", "mean stretch", "scaled"),
        node("Mul", "scaled factor", "score"),
    ]
    weights = {"usual": np.array(16_000, np.float32), "last": LAST, "factor": random_weights(seed, 1)}
    inputs = {"audio": (F32, ["batch", "samples"]), "sr": (I64, [])}
    return build_model(nodes, inputs, {"score": (F32, ["batch", 1])}, weights)


def ask_audio(random: np.random.Generator) -> Tensors:
    return {**normal(audio=(1, 64))(random), "sr": np.array(random.choice([8_000, 16_000]), np.int64)}


def sum_up(seed: int) -> ModelProto:
    nodes = [node("MatMul", "features weights", "scores"), node("ReduceMean", "scores", "total", keepdims=0)]
    return build_model(
        nodes, {"features": (F32, ["n", 4])}, {"total": (F32, [])}, {"weights": random_weights(seed, 4, 3)}
    )


def look_at_one_image(seed: int) -> ModelProto:
    nodes = [node("Flatten", "image", "pixels"), node("MatMul", "pixels weights", "scores")]
    axes = {"image": (F32, [1, 3, 8, 8])}, {"scores": (F32, [1, 3])}
    return build_model(nodes, *axes, {"weights": random_weights(seed, 192, 3)})


def look_at_four_rows(seed: int) -> ModelProto:
    nodes = [node("MatMul", "features weights", "scores")]
    axes = {"features": (F32, [4, 4])}, {"scores": (F32, [4, 3])}
    return build_model(nodes, *axes, {"weights": random_weights(seed, 4, 3)})


def find_positive(seed: int) -> ModelProto:
    """Return the places and the number of places where scores are positive: how many rows, the values say."""
    nodes = [
        node("MatMul", "features weights", "scores"),
        node("Greater", "scores zero", "positive"),
        node("NonZero", "positive", "found"),
        node("Transpose", "found", "places", perm=[1, 0]),
    ]
    weights = {"weights": random_weights(seed, 4, 3), "zero": np.zeros((), np.float32)}
    return build_model(nodes, {"features": (F32, ["n", 4])}, {"places": (I64, ["found", 2])}, weights)


def ask_a_row(random: np.random.Generator) -> Tensors:
    return normal(features=(int(random.integers(2, 5)), 4))(random)


UNBATCHED = (
    ModelKind("causal sequences, time first", remember_sequences, normal(frames=(5, 1, 3)), is_batched=False),
    ModelKind(
        "causal sequences with golden samples",
        remember_sequences,
        normal(frames=(5, 2, 3)),
        is_batched=False,
        samples=3,
    ),
    ModelKind("graph", pass_messages, ask_graph, is_batched=False, samples=3),
    ModelKind(
        "graph, its axes unnamed",
        pass_messages_over_unnamed_axes,
        ask_graph_with_an_edge_a_node,
        is_batched=False,
        samples=3,
    ),
    ModelKind("mean of the batch subtracted", subtract_mean_of_batch, ask_a_row, is_batched=False),
    ModelKind("softmax over the rows", normalize_over_rows, ask_a_row, is_batched=False),
    ModelKind("answer without a batch axis", pool_over_rows, ask_a_row, is_batched=False),
    ModelKind("queries and documents", match_documents, ask_documents, is_batched=False),
    ModelKind("audio with a scalar rate", hear_at_rate, ask_audio, is_batched=False),
    ModelKind("scalar answer", sum_up, ask_a_row, is_batched=False),
    ModelKind("fixed batch of one", look_at_one_image, normal(image=(1, 3, 8, 8)), is_batched=False),
    ModelKind("fixed batch of four", look_at_four_rows, normal(features=(4, 4)), is_batched=False, samples=2),
    ModelKind("rows that depend on values", find_positive, ask_a_row, is_batched=False),
)
