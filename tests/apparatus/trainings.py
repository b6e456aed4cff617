"""What trainings leave behind, in MLflow and among the checkpoints, and functions that fail on demand."""

import itertools
from collections.abc import Callable
from typing import Any
from uuid import UUID

import mlflow
import torch
from mlflow.entities import Run

from blocks.checkpoints import Checkpoints
from blocks.registry import ModelRegistry
from tests.apparatus.trained_candidates import SHAPE

EPOCHS = 4
SETTINGS: dict[str, Any] = {
    "dataset": "digits",
    "learning_rate": 0.01,
    "batch_size": 64,
    "num_workers": 0,
    "seed": 3,
    "input_shape": SHAPE,
}
METRICS = ("best_val_accuracy", "best_val_loss", "val_accuracy", "val_loss", "train_loss", "epoch_time")


def the_run(model_name: str) -> Run:
    [run] = mlflow.search_runs(
        experiment_names=[model_name],
        filter_string="tags.architecture = 'resnet18' AND attributes.run_name LIKE 'train-%'",
        output_format="list",
    )
    assert isinstance(run, Run)
    return run


def steps(run: Run, metric: str, registry: ModelRegistry) -> list[int]:
    return [point.step for point in registry.connect().get_metric_history(run.info.run_id, metric)]


def same(first: dict[str, torch.Tensor], second: dict[str, torch.Tensor]) -> bool:
    return first.keys() == second.keys() and all(torch.equal(first[name], second[name]) for name in first)


def trainings_of(flow_run_id: UUID | str, checkpoints: Checkpoints) -> list[str]:
    place = f"{checkpoints.prefix}/{flow_run_id}/"
    return [f"{flow_run_id}/{name}" for name in checkpoints.store.list_prefixes(place)]


def failing_at(function: Callable[..., Any], error: Exception, calls: set[int]) -> Callable[..., Any]:
    """Return a function that raises at the calls of these numbers, counted from 0, and does its work at all others."""
    number = itertools.count()

    def wrapped(*args: Any, **kwargs: Any) -> Any:
        if next(number) in calls:
            raise error
        return function(*args, **kwargs)

    return wrapped
