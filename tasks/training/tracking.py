"""What a run leaves in MLflow: parameters, figures of every epoch, the data's fingerprint, pictures, samples."""

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path

import mlflow
from matplotlib.figure import Figure
from mlflow.data.code_dataset_source import CodeDatasetSource
from mlflow.data.numpy_dataset import NumpyDataset

from blocks.registry import ModelRegistry
from tasks.training.datasets import ImageDataset, ImageSplit
from tasks.training.fitting import EpochFigures


class TrackedRun:
    """The MLflow run that is going on; every call raises `ServiceUnavailable` where the server does not answer."""

    def __init__(self, run_id: str, registry: ModelRegistry) -> None:
        self.run_id = run_id
        self._registry = registry

    def log_params(self, params: Mapping[str, object]) -> None:
        """Record parameters; one that was recorded before with another value is an error."""
        with self._registry.reaching(f"parameters of run {self.run_id}"):
            mlflow.log_params(dict(params))

    def log_metrics(self, metrics: Mapping[str, float], step: int | None = None) -> None:
        """Record metrics, of an epoch if `step` says which."""
        with self._registry.reaching(f"metrics of run {self.run_id}"):
            mlflow.log_metrics(dict(metrics), step=step)

    def log_epoch(self, figures: EpochFigures) -> None:
        """Record an epoch's figures. `best_val_*` belong to the weights that will be registered."""
        self.log_metrics(
            {
                "best_val_accuracy": figures.best_val_accuracy,
                "best_val_loss": figures.best_val_loss,
                "val_accuracy": figures.val_accuracy,
                "val_loss": figures.val_loss,
                "train_loss": figures.train_loss,
                "epoch_time": figures.epoch_time_s,
            },
            step=figures.epoch,
        )

    def log_dataset(self, dataset: ImageDataset) -> None:
        """Record both halves of the data as inputs of the run, with the digests of what was really used."""
        for split, context, digest in (
            (dataset.train, "training", dataset.training_digest),
            (dataset.validation, "validation", dataset.validation_digest),
        ):
            with self._registry.reaching(f"dataset of run {self.run_id}"):
                mlflow.log_input(_described(dataset, split, digest), context=context)

    def log_figure(self, figure: Figure, file: str) -> None:
        """Store a picture with the run."""
        with self._registry.reaching(f"picture {file} of run {self.run_id}"):
            mlflow.log_figure(figure, file, save_kwargs={"dpi": 130, "bbox_inches": "tight", "pad_inches": 0.2})

    def log_text(self, text: str, file: str) -> None:
        """Store a text with the run."""
        with self._registry.reaching(f"text {file} of run {self.run_id}"):
            mlflow.log_text(text, file)

    def log_file(self, path: Path) -> None:
        """Store a file with the run."""
        with self._registry.reaching(f"file {path.name} of run {self.run_id}"):
            mlflow.log_artifact(str(path))


@contextmanager
def tracked_run(
    registry: ModelRegistry, experiment: str, run_name: str | None, tags: Mapping[str, str]
) -> Iterator[TrackedRun]:
    """Open a run in an experiment, which is created if need be; the run ends as FAILED if the block raises."""
    registry.connect()
    with registry.reaching(f"a new run in experiment '{experiment}'"):
        mlflow.set_experiment(experiment)
        started = mlflow.start_run(run_name=run_name, tags=dict(tags))
    status = "FAILED"
    try:
        yield TrackedRun(started.info.run_id, registry)
        status = "FINISHED"
    finally:
        # Where the server went away in the middle, this must not hide the reason.
        try:
            mlflow.end_run(status)
        except mlflow.MlflowException:
            if status == "FINISHED":
                raise


def _described(dataset: ImageDataset, split: ImageSplit, digest: str) -> NumpyDataset:
    source = CodeDatasetSource(tags={"dataset": dataset.name, "source": dataset.source})
    return NumpyDataset(split.images, source=source, targets=split.labels, name=dataset.name, digest=digest)
