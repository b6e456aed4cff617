"""Models that cannot be served, or are not as they are said to be, and what their refusal says."""

import numpy as np
from onnx import ModelProto, TensorProto, helper

from tests.apparatus.kinds.agreements import AGREEMENT
from tests.apparatus.kinds.batched import score_linearly
from tests.apparatus.kinds.kind import BF16, F32, I64, ModelKind, Tensors, build_model, node, normal_rows


def map_labels(seed: int) -> ModelProto:
    """Return a classifier as skl2onnx exports one when not told otherwise: probabilities as maps."""
    model = build_model(
        [
            node("ml.LinearClassifier", "features", "label scores", **_coefficients(seed)),
            node("ml.ZipMap", "scores", "probabilities", classlabels_int64s=[0, 1, 2]),
        ],
        {"features": (F32, ["n", 4])},
        {"label": (I64, ["n"])},
    )
    row = helper.make_map_type_proto(TensorProto.INT64, helper.make_tensor_type_proto(F32, []))
    model.graph.output.append(helper.make_value_info("probabilities", helper.make_sequence_type_proto(row)))
    return model


def _coefficients(seed: int) -> dict[str, object]:
    random = np.random.default_rng(seed)
    coefficients, intercepts = random.standard_normal(12).tolist(), random.standard_normal(3).tolist()
    return {
        "coefficients": coefficients,
        "intercepts": intercepts,
        "classlabels_ints": [0, 1, 2],
        "post_transform": "SOFTMAX",
    }


def split_rows(seed: int) -> ModelProto:
    """Return a model that gives a sequence of tensors."""
    model = build_model([node("SplitToSequence", "features", "parts", axis=1)], {"features": (F32, ["n", 4])}, {})
    part = helper.make_tensor_type_proto(F32, ["n", None])
    model.graph.output.append(helper.make_value_info("parts", helper.make_sequence_type_proto(part)))
    return model


def answer_nobody(seed: int) -> ModelProto:
    """Return a model that takes nothing."""
    answer = helper.make_tensor("answer", F32, [1], [42.0])
    return build_model([node("Constant", "", "scores", value=answer)], {}, {"scores": (F32, [1])})


def take_brain_floats(seed: int) -> ModelProto:
    nodes = [node("Cast", "features", "scores", to=F32)]
    return build_model(nodes, {"features": (BF16, ["n", 4])}, {"scores": (F32, ["n", 4])})


def widen(golden: Tensors) -> Tensors:
    return {key: array.astype(np.float64) for key, array in golden.items()}


def rename(golden: Tensors) -> Tensors:
    return {key.replace("features", "x").replace("scores", "y"): array for key, array in golden.items()}


def shorten(golden: Tensors) -> Tensors:
    return {**golden, "output/scores": golden["output/scores"][:-1]}


FEATURES = normal_rows(features=(4,))

REFUSED = (
    ModelKind("ZipMap", map_labels, FEATURES, refused=r"(?i)probabilities.*zipmap=False"),
    ModelKind("sequence", split_rows, FEATURES, refused=r"(?i)parts.*sequence"),
    ModelKind("no inputs", answer_nobody, lambda random: {}, refused=r"(?i)(takes|has) no inputs?"),
    ModelKind("BF16 inputs", take_brain_floats, FEATURES, refused=r"(?i)features.*(BF16|bfloat16)"),
    ModelKind(
        "golden samples in FP64",
        score_linearly,
        FEATURES,
        is_batched=True,
        samples=4,
        alter=widen,
        refused=r"float64.*expected.*float32",
    ),
    ModelKind(
        "golden samples under other names",
        score_linearly,
        FEATURES,
        is_batched=True,
        samples=4,
        alter=rename,
        refused=r"(?s)(?=.*\bx\b)(?=.*\by\b)(?=.*\bfeatures\b)(?=.*\bscores\b)",
    ),
    ModelKind(
        "golden samples of different counts",
        score_linearly,
        FEATURES,
        is_batched=True,
        samples=4,
        alter=shorten,
        refused=r"(?i)equally many",
    ),
    ModelKind(
        "scores said to be probabilities",
        score_linearly,
        FEATURES,
        is_batched=True,
        samples=4,
        tags={AGREEMENT: "probabilities"},
        refused=r"(?i)probabilit",
    ),
)
