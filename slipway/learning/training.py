"""Training: a ResNet18 is trained, and its best epoch registered."""

import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path

import torch
from torch import nn

from blocks.checkpoints import Checkpoints
from blocks.labels import (
    BEST_ACCURACY,
    BEST_EPOCH_PARAM,
    BEST_LOSS,
    EPOCH_TIME,
    SAMPLES_FILE,
)
from blocks.registry import ModelRegistry
from blocks.run import say
from slipway.learning import figures as pictures
from slipway.learning.datasets import ImageDataset, load_dataset
from slipway.learning.evaluation import evaluate
from slipway.learning.fitting import Fitting
from slipway.learning.history import EpochFigures
from slipway.learning.machine import keep_to_share, look_at_machine
from slipway.learning.parameters import TrainingSettings
from slipway.learning.planning import Plan, make_plan
from slipway.learning.pretrained import load_pretrained
from slipway.learning.progress import TrainingProgress
from slipway.learning.recipes import follow_recipe
from slipway.learning.recording import BATCH_SIZE_PARAM, make_params, make_tags
from slipway.learning.reproducing import seeded
from slipway.learning.resnet import ARCHITECTURE, ResNet18
from slipway.learning.results import TrainedModel
from slipway.learning.resuming import EpochKeeper, keeping_epochs, name_training
from slipway.learning.samples import write_samples
from slipway.learning.tracking import TrackedRun, tracked_run
from slipway.learning.weights import register_weights

KEPT_SAMPLES = 32


def train(
    settings: TrainingSettings, *, registry: ModelRegistry, checkpoints: Checkpoints | None = None
) -> TrainedModel:
    """Train a ResNet18, from random or given weights, and register the best epoch's as a new version.

    Uses a GPU where there is one. Called again in the same flow run, since its process was killed, it goes on after
    the last epoch in `checkpoints`. Raises `UnusableModel`, with nothing registered, when the training diverges.
    """
    keep_to_share()
    images = load_dataset(settings.dataset, follow_recipe(settings).input_shape, settings.num_workers)
    machine, training = look_at_machine(), name_training(settings, images)
    with (
        tracked_run(
            registry, settings.model_name, f"train-{settings.model_name}", make_tags(settings), training
        ) as run,
        keeping_epochs(run, training, checkpoints) as keeper,
    ):
        plan = make_plan(settings, len(images.train), machine, _find_batch_size(run))
        run.log_params(make_params(settings, plan, images, machine))
        run.log_dataset(images)
        trained = _find_registered(run, settings) or _fit(settings, images, plan, run, registry, keeper)
        keeper.discard()
        return trained


def _find_batch_size(run: TrackedRun) -> int | None:
    """Return the batch size of an earlier attempt, whose checkpoint only goes on with the same."""
    return int(found) if (found := run.params.get(BATCH_SIZE_PARAM)) else None


def _find_registered(run: TrackedRun, settings: TrainingSettings) -> TrainedModel | None:
    """Return what an earlier attempt registered before it was killed, None where none did."""
    if (version := run.find_registered_version(settings.model_name)) is None:
        return None
    say(f"model '{settings.model_name}' version {version} was registered before, by the same training")
    epochs = follow_recipe(settings).epochs
    return TrainedModel(
        model_name=settings.model_name,
        version=version,
        run_id=run.run_id,
        best_epoch=int(run.params[BEST_EPOCH_PARAM]),
        best_val_accuracy=run.metrics[BEST_ACCURACY][epochs],
        best_val_loss=run.metrics[BEST_LOSS][epochs],
        train_time_s=sum(run.metrics[EPOCH_TIME].values()),
    )


def _fit(
    settings: TrainingSettings,
    images: ImageDataset,
    plan: Plan,
    run: TrackedRun,
    registry: ModelRegistry,
    keeper: EpochKeeper,
) -> TrainedModel:
    with seeded(settings.seed, deterministic=settings.deterministic):
        fitting = keeper.resume(lambda: _begin(settings, images, plan, registry))
        for _ in _run_epochs(fitting, plan.recipe.epochs, keeper.look):
            keeper.keep(fitting)
        keeper.finish()
        best = fitting.history[-1]
        run.log_params({BEST_EPOCH_PARAM: best.best_epoch})
        _log_pictures(fitting.model, images, fitting.history, plan.device, run)
        version = register_weights(
            fitting.model, settings.model_name, plan.recipe.input_shape, len(images.classes), registry
        )
    return TrainedModel(
        model_name=settings.model_name,
        version=version,
        run_id=run.run_id,
        best_epoch=best.best_epoch,
        best_val_accuracy=best.best_val_accuracy,
        best_val_loss=best.best_val_loss,
        train_time_s=sum(figures.epoch_time_s for figures in fitting.history),
    )


def _begin(settings: TrainingSettings, images: ImageDataset, plan: Plan, registry: ModelRegistry) -> Fitting:
    torch.manual_seed(settings.seed)
    model = ResNet18(len(images.classes))
    if settings.pretrained is not None:
        model.begin_with(load_pretrained(settings.pretrained, registry), settings.pretrained)
    if settings.frozen_layers:
        model.freeze(settings.frozen_layers)
    return Fitting(model, images, plan)


def _run_epochs(fitting: Fitting, epochs: int, on_step: Callable[[], None]) -> Iterator[EpochFigures]:
    with TrainingProgress(f"epoch {fitting.epoch + 1} of {epochs}", max(1, fitting.steps_left)) as progress:

        def count() -> None:
            progress.step()
            on_step()

        for figures in fitting.train_epochs(count):
            text = f"epoch {figures.epoch} of {epochs}: accuracy {figures.val_accuracy:.4f}"
            progress.describe(text)
            losses = f"training loss {figures.train_loss:.4f}, validation loss {figures.val_loss:.4f}"
            say(f"{text}, {losses}, {figures.epoch_time_s:.1f} s")
            yield figures


def _log_pictures(
    model: nn.Module, images: ImageDataset, history: list[EpochFigures], device: torch.device, run: TrackedRun
) -> None:
    validation, classes, title = images.validation, images.classes, f"{ARCHITECTURE} on {images.name}"
    logits = evaluate(model, validation, len(classes), device).logits
    run.log_figure(pictures.draw_training_curves(history, title), "training_curves.png")
    run.log_figure(
        pictures.draw_confusion_matrix(validation.labels, logits.argmax(axis=1), classes, title), "confusion_matrix.png"
    )
    run.log_figure(
        pictures.draw_sample_predictions(validation.images, validation.labels, logits, classes, title),
        "sample_predictions.png",
    )
    # Spread over the split, which in a folder is sorted by class.
    kept = torch.linspace(0, len(validation) - 1, min(KEPT_SAMPLES, len(validation))).long().numpy()
    with tempfile.TemporaryDirectory(prefix="slipway-") as directory:
        write_samples(Path(directory) / SAMPLES_FILE, validation.images[kept], validation.labels[kept])
        run.log_file(Path(directory) / SAMPLES_FILE)
