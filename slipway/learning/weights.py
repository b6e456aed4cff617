"""PyTorch models in the registry, as exported programs (pt2): nothing is ever pickled or unpickled."""

import tempfile
from pathlib import Path
from typing import cast

import mlflow
import numpy as np
import torch
from mlflow.models import Model, ModelSignature
from mlflow.types import Schema, TensorSpec
from torch import nn

from blocks.errors import UnusableModel
from blocks.registry import ModelRegistry, RegisteredVersion
from slipway.learning.samples import INPUT, OUTPUT


def register_weights(
    model: nn.Module, model_name: str, input_shape: list[int], classes: int, registry: ModelRegistry
) -> int:
    """Log `model`, in evaluation mode, with the active run and register it; return the new version.

    Raises `UnusableModel`, with nothing registered, if a weight is not a finite number.
    """
    check_weights(model, model_name)
    model.cpu().eval()
    model.to(memory_format=torch.contiguous_format)
    with registry.transferring(f"registration of model '{model_name}'"):
        logged = mlflow.pytorch.log_model(
            model,
            name="model",
            registered_model_name=model_name,
            serialization_format="pt2",
            signature=make_signature(input_shape, classes),
            # Two images: torch.export would freeze a batch of one. A tensor, since MLflow cannot serve arrays to pt2.
            input_example=torch.rand(2, *input_shape[1:]),
            pip_requirements=[f"torch=={torch.__version__.split('+')[0]}"],
        )
    return int(logged.registered_model_version)


def load_weights(version: RegisteredVersion, registry: ModelRegistry) -> tuple[nn.Module, list[int]]:
    """Return a registered model, on the CPU and ready to infer, and its input shape [1, 3, height, width].

    Raises `UnusableModel` for files that are no exported program, above all pickles, or hold NaN weights.
    """
    subject = f"model '{version.model_name}' version {version.version}"
    with tempfile.TemporaryDirectory(prefix="slipway-") as directory:
        files = registry.download(version, Path(directory) / "model")
        try:
            model = cast(nn.Module, mlflow.pytorch.load_model(str(files)))
            shape = Model.load(str(files)).signature.inputs.inputs[0].shape
        except Exception as error:
            raise UnusableModel(
                f"{subject}: not an exported PyTorch program ({error}); expected a version registered by train"
            ) from error
    check_weights(model, subject)
    return model, [1, *(int(size) for size in shape[1:])]


def check_weights(model: nn.Module, subject: str) -> None:
    """Raise `UnusableModel` naming the tensor if any weight or statistic is not a finite number."""
    for name, values in model.state_dict().items():
        if values.is_floating_point() and not bool(torch.isfinite(values).all()):
            raise UnusableModel(
                f"{subject}: weights '{name}' hold NaN or infinity; expected finite numbers, train again"
            )


def make_signature(input_shape: list[int], classes: int) -> ModelSignature:
    """Return the MLflow signature: float32 `input` and `output` with a dynamic batch."""
    kind = np.dtype(np.float32)
    return ModelSignature(
        inputs=Schema([TensorSpec(kind, (-1, *input_shape[1:]), INPUT)]),
        outputs=Schema([TensorSpec(kind, (-1, classes), OUTPUT)]),
    )
