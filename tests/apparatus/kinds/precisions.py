"""Models that compute in other types than FP32, or keep their weights in them."""

from collections.abc import Callable

import ml_dtypes
import numpy as np
from onnx import ModelProto, TensorProto, numpy_helper

from tests.apparatus.kinds.kind import (
    BF16,
    F16,
    F32,
    F64,
    HALF_PRECISION,
    I8,
    I32,
    U8,
    Asking,
    ModelKind,
    Tensors,
    build_model,
    count_rows,
    node,
    random_weights,
)


def score_in(dtype: int, numpy_type: str) -> Callable[[int], ModelProto]:
    """Return what builds a model that takes, computes and gives one floating type."""

    def build(seed: int) -> ModelProto:
        axes = {"features": (dtype, ["n", 4])}, {"scores": (dtype, ["n", 3])}
        weights = {"weights": random_weights(seed, 4, 3).astype(numpy_type)}
        return build_model([node("MatMul", "features weights", "scores")], *axes, weights)

    return build


def ask_in(numpy_type: str) -> Asking:
    return lambda random: {"features": random.standard_normal((count_rows(random), 4)).astype(numpy_type)}


def score_with_half_weights(seed: int) -> ModelProto:
    """Return a model that takes and gives FP32, and multiplies in FP16."""
    nodes = [
        node("Cast", "features", "halves", to=F16),
        node("MatMul", "halves weights", "products"),
        node("Cast", "products", "scores", to=F32),
    ]
    axes = {"features": (F32, ["n", 4])}, {"scores": (F32, ["n", 3])}
    return build_model(nodes, *axes, {"weights": random_weights(seed, 4, 3).astype(np.float16)})


def compute_in_single(golden: Tensors) -> Tensors:
    """Return golden samples as the model gave them before its weights became FP16: a little different."""
    outputs = golden["output/scores"]
    noise = np.random.default_rng(1).uniform(-1e-3, 1e-3, outputs.shape).astype(np.float32)
    return {**golden, "output/scores": outputs + noise}


def score_with_brain_weights(seed: int) -> ModelProto:
    """Return a model that takes and gives FP32, with its weights in BF16."""
    tensor: TensorProto = numpy_helper.from_array(random_weights(seed, 4, 3).astype(ml_dtypes.bfloat16), "weights")
    nodes = [node("Cast", "weights", "wide", to=F32), node("MatMul", "features wide", "scores")]
    axes = {"features": (F32, ["n", 4])}, {"scores": (F32, ["n", 3])}
    assert tensor.data_type == BF16
    return build_model(nodes, *axes, {"weights": tensor})


def multiply_bytes(seed: int) -> ModelProto:
    weights = {"weights": np.random.default_rng(seed).integers(-128, 128, (4, 3)).astype(np.int8)}
    axes = {"levels": (I8, ["n", 4])}, {"products": (I32, ["n", 3])}
    return build_model([node("MatMulInteger", "levels weights", "products")], *axes, weights)


def ask_levels(random: np.random.Generator) -> Tensors:
    return {"levels": random.integers(-128, 128, (count_rows(random), 4)).astype(np.int8)}


def darken_pixels(seed: int) -> ModelProto:
    """Return a model of pixels as cameras give them: bytes in, and bytes out."""
    nodes = [
        node("DequantizeLinear", "pixels shade zero", "light"),
        node("QuantizeLinear", "light full zero", "darker"),
    ]
    shade = np.array(1 / (seed + 1), np.float32)
    weights = {"shade": shade, "full": np.array(1, np.float32), "zero": np.array(0, np.uint8)}
    axes = {"pixels": (U8, ["n", 8, 8, 3])}, {"darker": (U8, ["n", 8, 8, 3])}
    return build_model(nodes, *axes, weights)


def ask_pixels(random: np.random.Generator) -> Tensors:
    return {"pixels": random.integers(0, 256, (count_rows(random), 8, 8, 3)).astype(np.uint8)}


PRECISIONS = (
    ModelKind("FP64", score_in(F64, "float64"), ask_in("float64"), is_batched=True),
    ModelKind("FP16", score_in(F16, "float16"), ask_in("float16"), is_batched=True, tolerance=HALF_PRECISION),
    ModelKind(
        "FP16 weights with FP32 golden samples",
        score_with_half_weights,
        ask_in("float32"),
        is_batched=True,
        samples=6,
        alter=compute_in_single,
        tolerance=HALF_PRECISION,
    ),
    ModelKind("BF16 weights", score_with_brain_weights, ask_in("float32"), is_batched=True, tolerance=HALF_PRECISION),
    ModelKind("INT8", multiply_bytes, ask_levels, is_batched=True),
    ModelKind("UINT8 pixels", darken_pixels, ask_pixels, is_batched=True),
)
