"""Small registered models, as `train` registers large ones."""

from pathlib import Path
from tempfile import TemporaryDirectory
from uuid import uuid4

import mlflow
from torch import nn

from blocks.labels import SAMPLES_FILE
from blocks.registry import ModelRegistry, RegisteredVersion
from slipway.learning.datasets import ImageDataset, load_dataset
from slipway.learning.reproducing import seeded
from slipway.learning.samples import write_samples
from slipway.learning.tracking import tracked_run
from slipway.learning.weights import register_weights
from tests.apparatus.networks import SmallNetwork

SHAPE = [1, 3, 32, 32]


def unused_name() -> str:
    """Return a model name no other test uses."""
    return f"test-{uuid4().hex[:10]}"


def digits(input_shape: list[int] | None = None) -> ImageDataset:
    """Return the digits at a size."""
    return load_dataset("digits", input_shape or SHAPE, 0)


def register_candidate(
    registry: ModelRegistry,
    model_name: str,
    *,
    accuracy: float | None = 0.95,
    digest: str | None = None,
    model: nn.Module | None = None,
    seed: int = 0,
) -> RegisteredVersion:
    """Register a small network with a run that claims an accuracy on validation data of a digest."""
    images = digits()
    params = {
        "data.dataset": "digits",
        "data.input_shape": ",".join(str(size) for size in SHAPE),
        "data.validation_digest": digest or images.validation_digest,
    }
    with seeded(seed), TemporaryDirectory() as directory, tracked_run(registry, model_name, None, {}) as run:
        run.log_params(params)
        if accuracy is not None:
            run.log_metrics({"best_val_accuracy": accuracy})
        write_samples(Path(directory) / SAMPLES_FILE, images.validation.images[:12], images.validation.labels[:12])
        run.log_file(Path(directory) / SAMPLES_FILE)
        version = register_weights(model or SmallNetwork(10), model_name, SHAPE, 10, registry)
    return registry.get_version(model_name, version)


def registered_names(registry: ModelRegistry, prefix: str) -> set[str]:
    """Return the names of the registered models that start with `prefix`."""
    registry.connect()
    found = mlflow.MlflowClient().search_registered_models(filter_string=f"name LIKE '{prefix}%'")
    return {model.name for model in found}
