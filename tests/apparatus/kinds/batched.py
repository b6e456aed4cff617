"""Models whose requests may be joined: each row has an answer of its own."""

import numpy as np
from onnx import ModelProto, NodeProto, TensorProto

from tests.apparatus.kinds.kind import (
    F32,
    I64,
    ModelKind,
    Tensors,
    build_model,
    count_rows,
    node,
    normal,
    normal_rows,
    random_weights,
)


def classify_images(seed: int) -> ModelProto:
    return _convolve(seed, (32, 32))


def classify_images_of_any_size(seed: int) -> ModelProto:
    """Return a network without a layer that fixes height and width; smaller than 31 does not fit its pooling."""
    return _convolve(seed, ("height", "width"), node("AveragePool", "active", "wide", kernel_shape=[15, 15]))


def _convolve(seed: int, size: tuple[int | str, int | str], *pooling: NodeProto) -> ModelProto:
    nodes = [
        node("Conv", "image kernel", "maps", strides=[2, 2]),
        node("Relu", "maps", "active"),
        *pooling,
        node("GlobalAveragePool", "wide" if pooling else "active", "pooled"),
        node("Flatten", "pooled", "features"),
        node("MatMul", "features head", "scores"),
    ]
    weights = {"kernel": random_weights(seed, 4, 3, 3, 3), "head": random_weights(seed, 4, 5)}
    return build_model(nodes, {"image": (F32, ["n", 3, *size])}, {"scores": (F32, ["n", 5])}, weights)


def ask_images_of_any_size(random: np.random.Generator) -> Tensors:
    height, width = random.choice([32, 40], size=2)
    return normal(image=(count_rows(random), 3, height, width))(random)


def look_at_tiles(seed: int) -> ModelProto:
    """Return a model whose free height and width have to be multiples of 48."""
    nodes = [
        node("SpaceToDepth", "image", "tiles", blocksize=48),
        node("ReduceMean", "tiles spatial", "depth", keepdims=0),
        node("MatMul", "depth head", "scores"),
    ]
    weights = {"spatial": np.array([2, 3], np.int64), "head": random_weights(seed, 48 * 48, 3)}
    return build_model(nodes, {"image": (F32, ["n", 1, "h", "w"])}, {"scores": (F32, ["n", 3])}, weights)


def convolve_signals(seed: int) -> ModelProto:
    """Return a network over signals of 9 values at least."""
    nodes = [
        node("Conv", "signal kernel", "maps"),
        node("GlobalAveragePool", "maps", "pooled"),
        node("Flatten", "pooled", "scores"),
    ]
    weights = {"kernel": random_weights(seed, 2, 1, 9)}
    return build_model(nodes, {"signal": (F32, ["n", 1, "length"])}, {"scores": (F32, ["n", 2])}, weights)


def ask_signals(random: np.random.Generator) -> Tensors:
    return normal(signal=(count_rows(random), 1, int(random.choice([9, 20]))))(random)


def read_tokens(seed: int) -> ModelProto:
    """Return the mean embedding of the tokens that the mask keeps, as scores."""
    nodes = [
        node("Gather", "table input_ids", "embedded"),
        node("Cast", "attention_mask", "kept", to=F32),
        node("Unsqueeze", "kept last", "column"),
        node("Mul", "embedded column", "masked"),
        node("ReduceSum", "masked sequence", "total", keepdims=0),
        node("ReduceSum", "column sequence", "count", keepdims=0),
        node("Max", "count one", "some"),
        node("Div", "total some", "mean"),
        node("MatMul", "mean head", "logits"),
    ]
    weights = {
        "table": random_weights(seed, 50, 8),
        "last": np.array([2], np.int64),
        "sequence": np.array([1], np.int64),
        "one": np.ones(1, np.float32),
        "head": random_weights(seed, 8, 3),
    }
    axes = ["batch", "sequence"]
    inputs = {"input_ids": (I64, axes), "attention_mask": (I64, axes)}
    return build_model(nodes, inputs, {"logits": (F32, ["batch", 3])}, weights)


def ask_tokens(random: np.random.Generator) -> Tensors:
    shape = (count_rows(random), int(random.choice([5, 7])))
    return {"input_ids": random.integers(0, 50, shape), "attention_mask": random.integers(0, 2, shape)}


def classify_as_sklearn_does(seed: int) -> ModelProto:
    nodes = [
        node("MatMul", "features weights", "scores"),
        node("Softmax", "scores", "probabilities", axis=1),
        node("ArgMax", "scores", "label", axis=1, keepdims=0),
    ]
    outputs = {"label": (I64, ["n"]), "probabilities": (F32, ["n", 3])}
    return build_model(nodes, {"features": (F32, ["n", 4])}, outputs, {"weights": random_weights(seed, 4, 3)})


def score_squeezed(seed: int) -> ModelProto:
    nodes = [node("MatMul", "features weights", "column"), node("Squeeze", "column last", "score")]
    weights = {"weights": random_weights(seed, 4, 1), "last": np.array([1], np.int64)}
    return build_model(nodes, {"features": (F32, ["n", 4])}, {"score": (F32, ["n"])}, weights)


def average_up_to_lengths(seed: int) -> ModelProto:
    """Return the mean of the first frames of each row, as many as `length` says."""
    nodes = [
        node("Shape", "frames", "count", start=1, end=2),
        node("Squeeze", "count", "frames_count"),
        node("Range", "zero frames_count step", "positions"),
        node("Unsqueeze", "length last", "limits"),
        node("Less", "positions limits", "within"),
        node("Cast", "within", "kept", to=F32),
        node("Unsqueeze", "kept after", "column"),
        node("Mul", "frames column", "masked"),
        node("ReduceSum", "masked last", "total", keepdims=0),
        node("MatMul", "total weights", "scores"),
    ]
    weights = {
        "zero": np.array(0, np.int64),
        "step": np.array(1, np.int64),
        "last": np.array([1], np.int64),
        "after": np.array([2], np.int64),
        "weights": random_weights(seed, 4, 2),
    }
    inputs = {"frames": (F32, ["batch", "time", 4]), "length": (I64, ["batch"])}
    return build_model(nodes, inputs, {"scores": (F32, ["batch", 2])}, weights)


def ask_lengths(random: np.random.Generator) -> Tensors:
    rows = count_rows(random)
    return {**normal(frames=(rows, 6, 4))(random), "length": random.integers(1, 7, rows)}


def compare_images_and_features(seed: int) -> ModelProto:
    nodes = [
        node("Flatten", "image", "pixels"),
        node("MatMul", "pixels left", "seen"),
        node("MatMul", "features right", "known"),
        node("Mul", "seen known", "product"),
        node("ReduceSum", "product last", "similarity", keepdims=1),
    ]
    weights = {
        "left": random_weights(seed, 192, 6),
        "right": random_weights(seed + 10, 4, 6),
        "last": np.array([1], np.int64),
    }
    inputs = {"image": (F32, ["n", 3, 8, 8]), "features": (F32, ["n", 4])}
    outputs = {"seen": (F32, ["n", 6]), "known": (F32, ["n", 6]), "similarity": (F32, ["n", 1])}
    return build_model(nodes, inputs, outputs, weights)


def subtract_default(seed: int) -> ModelProto:
    """Return a model with an input nobody has to give: it is listed among the inputs, and has a value."""
    nodes = [node("MatMul", "features weights", "scores"), node("Sub", "scores offset", "answers")]
    weights = {"weights": random_weights(seed, 4, 3), "offset": random_weights(seed, 1, 3)}
    inputs = {"features": (F32, ["n", 4]), "offset": (F32, [1, 3])}
    return build_model(nodes, inputs, {"answers": (F32, ["n", 3])}, weights)


def add_up(seed: int) -> ModelProto:
    """Return running sums: as many axes that are free in the answer as in the question."""
    nodes = [node("Mul", "values factor", "scaled"), node("CumSum", "scaled axis", "sums")]
    weights = {"factor": random_weights(seed, 1), "axis": np.array(1, np.int64)}
    axes = ["n", "length"]
    return build_model(nodes, {"values": (F32, axes)}, {"sums": (F32, axes)}, weights)


def ask_sums(random: np.random.Generator) -> Tensors:
    return normal(values=(count_rows(random), int(random.choice([4, 6]))))(random)


def score_linearly(seed: int) -> ModelProto:
    nodes = [node("MatMul", "features weights", "scores")]
    axes = {"features": (F32, ["n", 4])}, {"scores": (F32, ["n", 3])}
    return build_model(nodes, *axes, {"weights": random_weights(seed, 4, 3)})


def score_with_size_below_zero(seed: int) -> ModelProto:
    """Return a model whose first axis is free because its size is -1, as some exporters write it."""
    model = score_linearly(seed)
    for value in (*model.graph.input, *model.graph.output):
        value.type.tensor_type.shape.dim[0].dim_value = -1
    return model


def score_in_two_layers(seed: int) -> ModelProto:
    nodes = [node("MatMul", "features first", "hidden"), node("MatMul", "hidden second", "scores")]
    weights = {"first": random_weights(seed, 4, 64), "second": random_weights(seed, 64, 3)}
    return build_model(nodes, {"features": (F32, ["n", 4])}, {"scores": (F32, ["n", 3])}, weights)


def look_up(seed: int) -> ModelProto:
    """Return a table of 40 MB of which a request reads one row each."""
    table = TensorProto(name="table", data_type=F32, dims=[10_240, 1024])
    table.raw_data = np.random.default_rng(seed).random((10_240, 1024), np.float32).tobytes()
    outputs = {"rows": (F32, ["n", 1, 1024])}
    return build_model([node("Gather", "table index", "rows")], {"index": (I64, ["n", 1])}, outputs, {"table": table})


def ask_index(random: np.random.Generator) -> Tensors:
    return {"index": random.integers(0, 10_240, (count_rows(random), 1))}


FEATURES = normal_rows(features=(4,))
IMAGES = normal_rows(image=(3, 32, 32))

BATCHED = (
    ModelKind("image classifier", classify_images, IMAGES, is_batched=True),
    ModelKind("image classifier with golden samples", classify_images, IMAGES, is_batched=True, samples=4),
    ModelKind("images of any size", classify_images_of_any_size, ask_images_of_any_size, is_batched=True),
    ModelKind(
        "tiles, with a tag for their size",
        look_at_tiles,
        normal_rows(image=(1, 48, 96)),
        is_batched=True,
        tags={"slipway.input_shape": "1,1,48,48"},
    ),
    ModelKind(
        "tiles, with their size given to the flow",
        look_at_tiles,
        normal_rows(image=(1, 96, 48)),
        is_batched=True,
        input_shapes={"image": (1, 1, 48, 48)},
    ),
    ModelKind(
        "tiles, with an input example", look_at_tiles, normal_rows(image=(1, 48, 48)), is_batched=True, has_example=True
    ),
    ModelKind("signals of a least length", convolve_signals, ask_signals, is_batched=True),
    ModelKind("tokens with an attention mask", read_tokens, ask_tokens, is_batched=True),
    ModelKind("label and probabilities", classify_as_sklearn_does, FEATURES, is_batched=True),
    ModelKind("label with golden samples", classify_as_sklearn_does, FEATURES, is_batched=True, samples=4),
    ModelKind("squeezed score", score_squeezed, FEATURES, is_batched=True),
    ModelKind("frames with their lengths", average_up_to_lengths, ask_lengths, is_batched=True),
    ModelKind(
        "several inputs and outputs",
        compare_images_and_features,
        normal_rows(image=(3, 8, 8), features=(4,)),
        is_batched=True,
    ),
    ModelKind("input with a default", subtract_default, FEATURES, is_batched=True),
    ModelKind("running sums", add_up, ask_sums, is_batched=True),
    ModelKind("size below zero", score_with_size_below_zero, FEATURES, is_batched=True),
    ModelKind("weights in two files", score_in_two_layers, FEATURES, is_batched=True, data_files=2),
    ModelKind("large", look_up, ask_index, is_batched=True, data_files=1),
    ModelKind("metric that is no number", score_linearly, FEATURES, is_batched=True, metrics={"loss": float("nan")}),
)
