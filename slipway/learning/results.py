"""What the steps of a training led to, told without torch, which only those steps need."""

from pydantic import BaseModel, ConfigDict


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


class ValidatedOnnx(BaseModel):
    """An ONNX version that computes what its PyTorch parent computes; it carries the alias `deploy`."""

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
