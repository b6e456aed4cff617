"""Models as real exporters write them: trained, or of random weights, in this process; each is exported once."""

import io
import warnings
from functools import cache
from typing import Any

import numpy as np
import onnx
from onnx import ModelProto

from tests.apparatus.kinds.kind import ModelKind, Tensors, count_rows, named, normal_rows

CITIES = ("Łódź", "東京", "Zürich")
FEATURES = normal_rows(features=(4,))
ROWS = 60
_TOKENS = 50


@cache
def export_pipeline(seed: int) -> ModelProto:
    """Return a scikit-learn pipeline over a column of numbers and one of text, as skl2onnx writes it."""
    from pandas import DataFrame
    from skl2onnx import to_onnx
    from skl2onnx.common.data_types import FloatTensorType, StringTensorType
    from sklearn.compose import ColumnTransformer
    from sklearn.linear_model import LogisticRegression
    from sklearn.pipeline import make_pipeline
    from sklearn.preprocessing import OneHotEncoder

    random = np.random.default_rng(seed)
    table = DataFrame({"age": random.uniform(18, 80, ROWS), "city": random.choice(np.array(CITIES, object), ROWS)})
    columns = ColumnTransformer([("city", OneHotEncoder(handle_unknown="ignore"), ["city"])], remainder="passthrough")
    pipeline = make_pipeline(columns, LogisticRegression()).fit(table, random.integers(0, 2, ROWS))
    types = [("age", FloatTensorType([None, 1])), ("city", StringTensorType([None, 1]))]
    model: ModelProto = to_onnx(pipeline, initial_types=types, options={id(pipeline): {"zipmap": False}})
    return model


@cache
def export_forest(seed: int) -> ModelProto:
    """Return a random forest of three classes, as skl2onnx writes it."""
    from skl2onnx import to_onnx
    from skl2onnx.common.data_types import FloatTensorType
    from sklearn.ensemble import RandomForestClassifier

    random = np.random.default_rng(seed)
    forest = RandomForestClassifier(n_estimators=5, max_depth=4, random_state=seed)
    forest.fit(random.standard_normal((ROWS, 4)).astype(np.float32), random.integers(0, 3, ROWS))
    types = [("features", FloatTensorType([None, 4]))]
    model: ModelProto = to_onnx(forest, initial_types=types, options={id(forest): {"zipmap": False}})
    return model


@cache
def export_boosted_trees(seed: int) -> ModelProto:
    """Return LightGBM's classifier, as onnxmltools writes it."""
    from lightgbm import LGBMClassifier
    from onnxmltools import convert_lightgbm
    from onnxmltools.convert.common.data_types import FloatTensorType

    random = np.random.default_rng(seed)
    trees = LGBMClassifier(n_estimators=5, num_leaves=7, min_child_samples=2, random_state=seed, verbose=-1, n_jobs=1)
    trees.fit(random.standard_normal((ROWS, 4)).astype(np.float32), random.integers(0, 3, ROWS))
    types = [("features", FloatTensorType([None, 4]))]
    model: ModelProto = convert_lightgbm(trees, initial_types=types, zipmap=False, target_opset=15)
    return model


@cache
def export_transformer(seed: int) -> ModelProto:
    """Return a small BERT that classifies sequences of any length, as PyTorch writes it."""
    import torch
    from transformers import BertConfig, BertForSequenceClassification

    torch.manual_seed(seed)
    sizes: dict[str, Any] = {
        "vocab_size": _TOKENS,
        "hidden_size": 16,
        "num_hidden_layers": 2,
        "num_attention_heads": 2,
        "intermediate_size": 32,
        "max_position_embeddings": 32,
        "num_labels": 3,
        "return_dict": False,
        "attn_implementation": "eager",
    }
    tokens = torch.ones(2, 8, dtype=torch.int64)
    free = {0: "batch", 1: "sequence"}
    return _export_with_torch(
        BertForSequenceClassification(BertConfig(**sizes)),
        (tokens, tokens),
        input_names=["input_ids", "attention_mask"],
        output_names=["logits"],
        dynamic_axes={"input_ids": free, "attention_mask": free, "logits": {0: "batch"}},
    )


def ask_transformer(random: np.random.Generator) -> Tensors:
    shape = (count_rows(random), int(random.choice([5, 9])))
    return {"input_ids": random.integers(0, _TOKENS, shape), "attention_mask": np.ones(shape, np.int64)}


@cache
def export_detector(seed: int) -> ModelProto:
    """Return torchvision's Faster R-CNN on a tiny backbone, as PyTorch writes it: boxes, labels and scores."""
    import torch
    from torch import nn
    from torchvision.models.detection import FasterRCNN
    from torchvision.models.detection.anchor_utils import AnchorGenerator
    from torchvision.ops import MultiScaleRoIAlign

    torch.manual_seed(seed)
    backbone: Any = nn.Sequential(
        nn.Conv2d(3, 8, 3, stride=4, padding=1), nn.ReLU(), nn.Conv2d(8, 8, 3, stride=2, padding=1)
    )
    backbone.out_channels = 8
    detector = FasterRCNN(
        backbone,
        num_classes=3,
        min_size=64,
        max_size=64,
        rpn_anchor_generator=AnchorGenerator(((16, 32),), ((1.0,),)),
        box_roi_pool=MultiScaleRoIAlign(["0"], 3, 1),
        rpn_pre_nms_top_n_test=20,
        rpn_post_nms_top_n_test=10,
        box_detections_per_img=5,
    )
    names = ["boxes", "labels", "scores"]
    image = torch.rand(3, 64, 64)
    return _export_with_torch(detector, ([image],), input_names=["image"], output_names=names)


def _export_with_torch(network: Any, arguments: tuple[Any, ...], **options: Any) -> ModelProto:
    import torch

    buffer: Any = io.BytesIO()
    with torch.no_grad(), warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of what it does not trace: sizes that stay as they are
        # the older of the two exporters takes a second, where the other one takes a minute
        torch.onnx.export(network.eval(), arguments, buffer, opset_version=18, dynamo=False, **options)
    model: ModelProto = onnx.load_from_string(buffer.getvalue())
    return model


def ask_pipeline(random: np.random.Generator) -> Tensors:
    rows = count_rows(random)
    ages = random.uniform(18, 80, (rows, 1)).astype(np.float32)
    return {"age": ages, "city": random.choice(np.array([*CITIES, "elsewhere"], object), (rows, 1))}


def ask_image(random: np.random.Generator) -> Tensors:
    return {"image": random.random((3, 64, 64), np.float32)}


EXPORTED = (
    ModelKind("scikit-learn pipeline with a column of text", export_pipeline, ask_pipeline, is_batched=True, samples=4),
    ModelKind("random forest", export_forest, FEATURES, is_batched=True),
    # its exporter says that there is one label, however many rows are asked for
    ModelKind("LightGBM", export_boosted_trees, FEATURES),
    ModelKind("transformer", export_transformer, ask_transformer, is_batched=True),
    ModelKind(
        "Faster R-CNN",
        export_detector,
        ask_image,
        is_batched=False,
        samples=1,
        tags={"slipway.agreement": "detections"},
    ),
)
EXPORTED_KINDS = named(EXPORTED)
