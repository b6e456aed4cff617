"""Models whose answers agree in a way of their own: detections, probabilities, classes with ties."""

from collections.abc import Callable

import numpy as np
from onnx import ModelProto

from tests.apparatus.kinds.kind import (
    F32,
    I64,
    ModelKind,
    Tensors,
    build_model,
    node,
    normal,
    normal_rows,
    random_weights,
)

ANCHORS, CLASSES = 8, 3
AGREEMENT = "slipway.agreement"


def detect(threshold: float) -> Callable[[int], ModelProto]:
    """Return what builds a detector of boxes, scores and labels: as many as score above a threshold, maybe none."""

    def build(seed: int) -> ModelProto:
        nodes = [
            node("Flatten", "image", "pixels"),
            node("MatMul", "pixels to_corners", "corners"),
            node("Reshape", "corners by_anchor", "places"),
            node("Abs", "places", "sizes"),
            node("Concat", "places far", "all_boxes", axis=2),
            node("MatMul", "pixels to_classes", "logits"),
            node("Reshape", "logits by_class", "class_logits"),
            node("Sigmoid", "class_logits", "class_scores"),
            node("ReduceMax", "class_scores last", "best", keepdims=0),
            node("ArgMax", "class_scores", "best_class", axis=2, keepdims=0),
            node("Unsqueeze", "best one", "candidates"),
            node("NonMaxSuppression", "all_boxes candidates most overlap threshold", "selected"),
            node("Gather", "selected two", "chosen", axis=1),
            node("Gather", "flat_boxes chosen", "boxes"),
            node("Gather", "flat_scores chosen", "scores"),
            node("Gather", "flat_classes chosen", "labels"),
        ]
        nodes[4:4] = [node("Add", "places sizes", "far")]
        squeezes = ("all_boxes flat_boxes", "best flat_scores", "best_class flat_classes")
        nodes[13:13] = [node("Squeeze", f"{pair.split()[0]} zero", pair.split()[1]) for pair in squeezes]
        weights = {
            "to_corners": random_weights(seed, 192, ANCHORS * 2),
            "by_anchor": np.array([1, ANCHORS, 2], np.int64),
            "to_classes": random_weights(seed + 1, 192, ANCHORS * CLASSES),
            "by_class": np.array([1, ANCHORS, CLASSES], np.int64),
            "last": np.array([2], np.int64),
            "one": np.array([1], np.int64),
            "two": np.array(2, np.int64),
            "zero": np.array([0], np.int64),
            "most": np.array(ANCHORS, np.int64),
            "overlap": np.array(0.5, np.float32),
            "threshold": np.array(threshold, np.float32),
        }
        outputs = {"boxes": (F32, ["found", 4]), "scores": (F32, ["found"]), "labels": (I64, ["found"])}
        return build_model(nodes, {"image": (F32, [1, 3, 8, 8])}, outputs, weights)

    return build


def suppress(seed: int) -> ModelProto:
    """Return which boxes of a list are left: indices of batch, class and box."""
    nodes = [
        node("Mul", "scores factor", "weighed"),
        node("NonMaxSuppression", "boxes weighed most overlap threshold", "selected"),
    ]
    weights = {
        "factor": np.abs(random_weights(seed, 1)) + np.float32(0.5),
        "most": np.array(20, np.int64),
        "overlap": np.array(0.3, np.float32),
        "threshold": np.array(0.4, np.float32),
    }
    inputs = {"boxes": (F32, [1, "boxes", 4]), "scores": (F32, [1, 1, "boxes"])}
    return build_model(nodes, inputs, {"selected": (I64, ["selected", 3])}, weights)


def ask_boxes(random: np.random.Generator) -> Tensors:
    near = random.random((1, 6, 2), np.float32)
    boxes = np.concatenate([near, near + random.random((1, 6, 2), np.float32)], axis=2)
    return {"boxes": boxes, "scores": random.random((1, 1, 6), np.float32)}


def give_probabilities(seed: int) -> ModelProto:
    nodes = [node("MatMul", "features weights", "logits"), node("Softmax", "logits", "probabilities", axis=1)]
    axes = {"features": (F32, ["n", 4])}, {"probabilities": (F32, ["n", 3])}
    return build_model(nodes, *axes, {"weights": random_weights(seed, 4, 3)})


def saturate(seed: int) -> ModelProto:
    """Return scores of which several are exactly one."""
    nodes = [
        node("MatMul", "features weights", "logits"),
        node("Mul", "logits steep", "steeper"),
        node("Sigmoid", "steeper", "scores"),
    ]
    weights = {"weights": random_weights(seed, 4, 6), "steep": np.array(100, np.float32)}
    return build_model(nodes, {"features": (F32, ["n", 4])}, {"scores": (F32, ["n", 6])}, weights)


def draw_heat_map(seed: int) -> ModelProto:
    """Return a map with several maxima that are equal."""
    nodes = [node("Conv", "image kernel", "raw", pads=[1, 1, 1, 1]), node("Clip", "raw low high", "heat")]
    bounds = {"low": np.array(0, np.float32), "high": np.array(0.2, np.float32)}
    axes = {"image": (F32, ["n", 1, 8, 8])}, {"heat": (F32, ["n", 1, 8, 8])}
    return build_model(nodes, *axes, {"kernel": random_weights(seed, 1, 1, 3, 3), **bounds})


def score_twins(seed: int) -> ModelProto:
    """Return scores of which two are nearly equal, whatever is asked: rounding tells which is larger."""
    weights = random_weights(seed, 4, 3)
    weights[:, 1] = weights[:, 0] * np.float32(1 + 1e-6)
    nodes = [node("MatMul", "features weights", "scores")]
    return build_model(nodes, {"features": (F32, ["n", 4])}, {"scores": (F32, ["n", 3])}, {"weights": weights})


def break_ties(output: str) -> Callable[[Tensors], Tensors]:
    """Return what gives golden outputs the noise of another machine: a tie there is another's class."""

    def alter(golden: Tensors) -> Tensors:
        array = golden[f"output/{output}"]
        noise = np.random.default_rng(1).uniform(-2e-6, 2e-6, array.shape).astype(np.float32)
        return {**golden, f"output/{output}": array + noise}

    return alter


FEATURES, IMAGE = normal_rows(features=(4,)), normal(image=(1, 3, 8, 8))
DETECTIONS = {AGREEMENT: "detections"}

AGREEMENTS = (
    ModelKind("detector", detect(0.5), IMAGE, is_batched=False, samples=1, tags=DETECTIONS),
    ModelKind("detector without golden samples", detect(0.5), IMAGE, is_batched=False, tags=DETECTIONS),
    ModelKind("detector that often finds nothing", detect(0.9), IMAGE, is_batched=False, tags=DETECTIONS),
    ModelKind("non-maximum suppression", suppress, ask_boxes, is_batched=False, samples=1),
    ModelKind(
        "probabilities", give_probabilities, FEATURES, is_batched=True, samples=4, tags={AGREEMENT: "probabilities"}
    ),
    ModelKind("classes", give_probabilities, FEATURES, is_batched=True, samples=4, tags={AGREEMENT: "classes"}),
    ModelKind(
        "classes with near ties",
        score_twins,
        FEATURES,
        is_batched=True,
        samples=8,
        alter=break_ties("scores"),
        tags={AGREEMENT: "classes"},
    ),
    ModelKind("saturated scores", saturate, FEATURES, is_batched=True, samples=8, alter=break_ties("scores")),
    ModelKind(
        "heat map",
        draw_heat_map,
        normal_rows(image=(1, 8, 8)),
        is_batched=True,
        samples=4,
        alter=break_ties("heat"),
    ),
)
