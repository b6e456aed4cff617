"""What the steps of a training led to, told without torch, which only those steps need."""

from pydantic import BaseModel, ConfigDict

from slipway.learning.choice import PrecisionFigures
from slipway.learning.served_precision import AskedPrecision, Precision, Variant


class TrainedModel(BaseModel):
    """A registered candidate: the weights of its best epoch and how well they do."""

    model_config = ConfigDict(frozen=True, extra="forbid", protected_namespaces=())

    model_name: str
    version: int
    run_id: str
    best_epoch: int
    best_val_accuracy: float
    best_val_loss: float
    train_time_s: float


class ExportedVariant(BaseModel):
    """A variant that was logged beside its FP32 export, or why it could not be made."""

    model_config = ConfigDict(frozen=True, extra="forbid", protected_namespaces=())

    precision: Variant
    model_id: str | None
    size_bytes: int
    problem: str | None = None


class OnnxExport(BaseModel):
    """An ONNX model logged with its export run, not registered yet: gate 2 comes first."""

    model_config = ConfigDict(frozen=True, extra="forbid", protected_namespaces=())

    model_name: str
    version: int
    run_id: str
    model_id: str
    size_bytes: int
    external_data: bool
    opset: int
    input_shape: list[int]
    export_duration_s: float
    variants: list[ExportedVariant] = []


class ValidatedOnnx(BaseModel):
    """An ONNX version that carries `deploy`: it computes what PyTorch does, or is a variant that passed gate 1."""

    model_config = ConfigDict(frozen=True, extra="forbid", protected_namespaces=())

    model_name: str
    version: int
    run_id: str
    samples: int
    max_diff: float
    softmax_max_diff: float
    tolerance: float
    onnx_speedup: float
    reason: str
    precision: Precision = "fp32"
    figures: PrecisionFigures | None = None


class RefusedPrecision(BaseModel):
    """The precision that was asked for may not be released: nothing was registered."""

    model_config = ConfigDict(frozen=True, extra="forbid", protected_namespaces=())

    model_name: str
    run_id: str
    asked: AskedPrecision
    reason: str
