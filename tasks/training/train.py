"""Step 1 of the training flow: train a ResNet18 and register its best epoch."""

import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Annotated

import torch
from cyclopts import Parameter
from prefect import task
from pydantic import BaseModel, ConfigDict

from blocks.checkpoints import Checkpoints
from blocks.names import ModelName
from blocks.registry import ModelRegistry
from tasks.training import figures as pictures
from tasks.training.caching import PER_RUN
from tasks.training.checkpoint import register_weights
from tasks.training.datasets import ImageDataset, load_dataset
from tasks.training.fitting import EpochFigures, deterministic, evaluate, fit, steps_per_epoch
from tasks.training.parameters import (
    BatchSize,
    Dataset,
    Epochs,
    InputShape,
    LearningRate,
    NumWorkers,
    Seed,
    TrainingSettings,
)
from tasks.training.progress import TrainingProgress
from tasks.training.reporting import say
from tasks.training.resnet import ARCHITECTURE, ResNet18
from tasks.training.samples import SAMPLES_FILE, write_samples
from tasks.training.tracking import TrackedRun, tracked_run

KEPT_SAMPLES = 32
NOT_FROM_A_SHELL = Parameter(parse=False)  # where there is no flow run to come back to


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


@task(name="train", task_run_name="train", cache_policy=PER_RUN)
def train(
    model_name: ModelName,
    dataset: Dataset,
    epochs: Epochs,
    learning_rate: LearningRate,
    batch_size: BatchSize,
    num_workers: NumWorkers,
    input_shape: InputShape,
    seed: Seed,
    *,
    registry: ModelRegistry,
    checkpoints: Annotated[Checkpoints | None, NOT_FROM_A_SHELL] = None,
) -> TrainedModel:
    """Train a ResNet18 with random weights and register the best epoch's as a new version of `model_name`.

    `input_shape` is [1, 3, height, width]. Uses a GPU where there is one. Raises `InvalidInput` before anything
    is recorded, and `UnusableModel` with nothing registered when the training diverges.
    """
    settings = TrainingSettings.checked(
        model_name=model_name,
        dataset=dataset,
        epochs=epochs,
        learning_rate=learning_rate,
        batch_size=batch_size,
        num_workers=num_workers,
        input_shape=input_shape,
        seed=seed,
    )
    images = load_dataset(settings.dataset, settings.input_shape, settings.num_workers)
    device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
    with tracked_run(registry, model_name, f"train-{model_name}", _tags(settings)) as run, deterministic(settings.seed):
        run.log_params(_params(settings, images, device))
        run.log_dataset(images)
        return _trained(settings, images, device, run, registry)


def _trained(
    settings: TrainingSettings, images: ImageDataset, device: torch.device, run: TrackedRun, registry: ModelRegistry
) -> TrainedModel:
    started = time.monotonic()
    model = ResNet18(len(images.classes))
    history = []
    for figures in _epochs(model, settings, images, device):
        run.log_epoch(figures)
        history.append(figures)
    train_time_s = time.monotonic() - started
    best = history[-1]
    run.log_params({"best_epoch": best.best_epoch})
    _log_pictures(model, images, history, device, run)
    version = register_weights(model, settings.model_name, settings.input_shape, len(images.classes), registry)
    return TrainedModel(
        model_name=settings.model_name,
        version=version,
        run_id=run.run_id,
        best_epoch=best.best_epoch,
        best_val_accuracy=best.best_val_accuracy,
        best_val_loss=best.best_val_loss,
        train_time_s=train_time_s,
    )


def _epochs(
    model: ResNet18, settings: TrainingSettings, images: ImageDataset, device: torch.device
) -> Iterator[EpochFigures]:
    steps = settings.epochs * steps_per_epoch(len(images.train), settings.batch_size)
    with TrainingProgress(f"epoch 1 of {settings.epochs}", steps) as progress:
        for figures in fit(
            model,
            images,
            epochs=settings.epochs,
            learning_rate=settings.learning_rate,
            batch_size=settings.batch_size,
            device=device,
            on_step=progress.step,
        ):
            text = f"epoch {figures.epoch} of {settings.epochs}: accuracy {figures.val_accuracy:.4f}"
            progress.describe(text)
            losses = f"training loss {figures.train_loss:.4f}, validation loss {figures.val_loss:.4f}"
            say(f"{text}, {losses}, {figures.epoch_time_s:.1f} s")
            yield figures


def _log_pictures(
    model: ResNet18, images: ImageDataset, history: list[EpochFigures], device: torch.device, run: TrackedRun
) -> None:
    validation, classes, title = images.validation, images.classes, f"{ARCHITECTURE} on {images.name}"
    logits = evaluate(model, validation, len(classes), device).logits
    run.log_figure(pictures.training_curves(history, title), "training_curves.png")
    run.log_figure(
        pictures.confusion_matrix(validation.labels, logits.argmax(axis=1), classes, title), "confusion_matrix.png"
    )
    run.log_figure(
        pictures.sample_predictions(validation.images, validation.labels, logits, classes, title),
        "sample_predictions.png",
    )
    # Spread over the split, which in a folder is sorted by class.
    kept = torch.linspace(0, len(validation) - 1, min(KEPT_SAMPLES, len(validation))).long().numpy()
    with tempfile.TemporaryDirectory(prefix="slipway-") as directory:
        write_samples(Path(directory) / SAMPLES_FILE, validation.images[kept], validation.labels[kept])
        run.log_file(Path(directory) / SAMPLES_FILE)


def _tags(settings: TrainingSettings) -> dict[str, str]:
    return {
        "approach": "from-scratch",
        "pretrained": "false",
        "architecture": ARCHITECTURE,
        "dataset": settings.dataset,
    }


def _params(settings: TrainingSettings, images: ImageDataset, device: torch.device) -> dict[str, object]:
    return {
        "data.dataset": settings.dataset,
        "data.input_shape": ",".join(str(size) for size in settings.input_shape),
        "data.classes": ",".join(images.classes)[:500],
        "data.num_classes": len(images.classes),
        "data.training_images": len(images.train),
        "data.validation_images": len(images.validation),
        "data.validation_digest": images.validation_digest,
        "training.epochs": settings.epochs,
        "training.learning_rate": settings.learning_rate,
        "training.batch_size": settings.batch_size,
        "training.num_workers": settings.num_workers,
        "training.seed": settings.seed,
        "training.mixed_precision": device.type == "cuda",
        "device": torch.cuda.get_device_name(device) if device.type == "cuda" else "cpu",
        "pytorch_version": torch.__version__,
        "cuda_version": torch.version.cuda if device.type == "cuda" else "none",
    }
