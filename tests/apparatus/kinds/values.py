"""Models whose values are particular: infinite, none at all, within bounds, text."""

import numpy as np
from onnx import ModelProto

from tests.apparatus.kinds.kind import (
    BOOL,
    F32,
    I64,
    TEXT,
    ModelKind,
    Tensors,
    build_model,
    count_rows,
    node,
    random_weights,
)

WORDS = ("north", "süd", "東", "🚀", "")
CITIES = ("Łódź", "東京", "Zürich")


def mask_logits(seed: int) -> ModelProto:
    """Return scores with minus infinity for each class that is not allowed."""
    nodes = [node("MatMul", "features weights", "scores"), node("Where", "allowed scores never", "logits")]
    weights = {"weights": random_weights(seed, 4, 3), "never": np.array(-np.inf, np.float32)}
    inputs = {"features": (F32, ["n", 4]), "allowed": (BOOL, ["n", 3])}
    return build_model(nodes, inputs, {"logits": (F32, ["n", 3])}, weights)


def ask_masked(random: np.random.Generator) -> Tensors:
    rows = count_rows(random)
    features = random.standard_normal((rows, 4)).astype(np.float32)
    return {"features": features, "allowed": random.random((rows, 3)) < 0.5}


def fill_gaps(seed: int) -> ModelProto:
    """Return a model with NaN among its weights: it marks what is not given, and what is marked is filled."""
    nodes = [
        node("Where", "given features gap", "known"),
        node("IsNaN", "known", "unknown"),
        node("Where", "unknown means known", "filled"),
        node("MatMul", "filled weights", "scores"),
    ]
    weights = {
        "gap": np.array(np.nan, np.float32),
        "means": random_weights(seed, 1, 4),
        "weights": random_weights(seed, 4, 3),
    }
    inputs = {"features": (F32, ["n", 4]), "given": (BOOL, ["n", 4])}
    return build_model(nodes, inputs, {"scores": (F32, ["n", 3])}, weights)


def ask_given(random: np.random.Generator) -> Tensors:
    rows = count_rows(random)
    features = random.standard_normal((rows, 4)).astype(np.float32)
    return {"features": features, "given": random.random((rows, 4)) < 0.5}


def impute(seed: int) -> ModelProto:
    """Return a model as skl2onnx exports an imputer: NaN is what it replaces."""
    nodes = [
        node(
            "ml.Imputer",
            "features",
            "filled",
            imputed_value_floats=random_weights(seed, 4).tolist(),
            replaced_value_float=float("nan"),
        ),
        node("MatMul", "filled weights", "scores"),
    ]
    axes = {"features": (F32, ["n", 4])}, {"scores": (F32, ["n", 3])}
    return build_model(nodes, *axes, {"weights": random_weights(seed, 4, 3)})


def ask_with_gaps(random: np.random.Generator) -> Tensors:
    features = random.standard_normal((count_rows(random), 4)).astype(np.float32)
    features[random.random(features.shape) < 0.3] = np.nan
    return {"features": features}


def take_logarithm(seed: int) -> ModelProto:
    """Return a model of amounts, which are positive: to others it answers NaN."""
    nodes = [node("Log", "amounts", "sizes"), node("MatMul", "sizes weights", "scores")]
    axes = {"amounts": (F32, ["n", 4])}, {"scores": (F32, ["n", 3])}
    return build_model(nodes, *axes, {"weights": random_weights(seed, 4, 3)})


def ask_amounts(random: np.random.Generator) -> Tensors:
    return {"amounts": random.random((count_rows(random), 4), np.float32) + np.float32(0.1)}


def look_up_five_rows(seed: int) -> ModelProto:
    """Return an embedding of five rows: an index beyond them is an error."""
    nodes = [node("Gather", "table index", "embedded"), node("ReduceMean", "embedded middle", "mean", keepdims=0)]
    weights = {"table": random_weights(seed, 5, 6), "middle": np.array([1], np.int64)}
    return build_model(nodes, {"index": (I64, ["n", 3])}, {"mean": (F32, ["n", 6])}, weights)


def ask_five_rows(random: np.random.Generator) -> Tensors:
    return {"index": random.integers(0, 5, (count_rows(random), 3))}


def append_text(seed: int) -> ModelProto:
    nodes = [node("StringConcat", "words ending", "sentences")]
    weights = {"ending": np.array([f": {seed} €"], object)}
    return build_model(nodes, {"words": (TEXT, ["n", 2])}, {"sentences": (TEXT, ["n", 2])}, weights)


def ask_words(random: np.random.Generator) -> Tensors:
    return {"words": random.choice(np.array(WORDS, object), (count_rows(random), 2))}


def number_cities(seed: int) -> ModelProto:
    numbers = [seed * 10 + place for place in range(len(CITIES))]
    nodes = [node("ml.LabelEncoder", "city", "number", keys_strings=list(CITIES), values_int64s=numbers)]
    return build_model(nodes, {"city": (TEXT, ["n", 1])}, {"number": (I64, ["n", 1])})


def ask_cities(random: np.random.Generator) -> Tensors:
    return {"city": random.choice(np.array([*CITIES, "elsewhere"], object), (count_rows(random), 1))}


def decide(seed: int) -> ModelProto:
    """Return truth values, one of them the opposite of a truth value given."""
    nodes = [
        node("MatMul", "features weights", "scores"),
        node("Greater", "scores zero", "positive"),
        node("Not", "flag", "unflagged"),
    ]
    weights = {"weights": random_weights(seed, 4, 3), "zero": np.zeros((), np.float32)}
    inputs = {"features": (F32, ["n", 4]), "flag": (BOOL, ["n", 1])}
    return build_model(nodes, inputs, {"positive": (BOOL, ["n", 3]), "unflagged": (BOOL, ["n", 1])}, weights)


def ask_flagged(random: np.random.Generator) -> Tensors:
    rows = count_rows(random)
    features = random.standard_normal((rows, 4)).astype(np.float32)
    return {"features": features, "flag": random.random((rows, 1)) < 0.5}


VALUES = (
    ModelKind("masked logits", mask_logits, ask_masked, is_batched=True),
    ModelKind("masked logits with golden samples", mask_logits, ask_masked, is_batched=True, samples=4),
    ModelKind("gaps marked with NaN", fill_gaps, ask_given, is_batched=True),
    ModelKind("imputer", impute, ask_with_gaps, is_batched=True, samples=4),
    ModelKind("positive amounts", take_logarithm, ask_amounts, is_batched=True, samples=4),
    ModelKind("valid indices", look_up_five_rows, ask_five_rows, is_batched=True, samples=4),
    ModelKind("text in and out", append_text, ask_words, is_batched=True),
    ModelKind("text with golden samples", append_text, ask_words, is_batched=True, samples=4),
    ModelKind("text to numbers", number_cities, ask_cities, is_batched=True, samples=4),
    ModelKind("truth values", decide, ask_flagged, is_batched=True),
)
