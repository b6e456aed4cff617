"""What a run leaves in MLflow: parameters, figures of every epoch, the data's fingerprint, pictures, samples."""

import math
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from functools import cached_property
from pathlib import Path

import mlflow
from matplotlib.figure import Figure
from mlflow.data.code_dataset_source import CodeDatasetSource
from mlflow.data.numpy_dataset import NumpyDataset
from mlflow.entities import Run

from blocks.labels import BEST_ACCURACY, BEST_LOSS, EPOCH_TIME, TRAINING_TAG
from blocks.registry import ModelRegistry
from slipway.learning.datasets import ImageDataset, ImageSplit
from slipway.learning.history import EpochFigures


class TrackedRun:
    """The MLflow run that is going on; every call raises `ServiceUnavailable` where the server does not answer.

    An earlier attempt that was killed may have begun it; what that attempt recorded is not recorded again.
    """

    def __init__(self, run_id: str, registry: ModelRegistry, begun: Run | None = None) -> None:
        self.run_id = run_id
        self._registry = registry
        self._begun = begun

    @property
    def is_continued(self) -> bool:
        """Whether an earlier attempt began the run."""
        return self._begun is not None

    @property
    def params(self) -> dict[str, str]:
        """The parameters that an earlier attempt recorded."""
        return dict(self._begun.data.params) if self._begun else {}

    @property
    def tags(self) -> dict[str, str]:
        """The tags that an earlier attempt left."""
        return dict(self._begun.data.tags) if self._begun else {}

    @cached_property
    def metrics(self) -> dict[str, dict[int, float]]:
        """The metrics that an earlier attempt recorded: by name, by step, the latest value."""
        if self._begun is None:
            return {}
        client = self._registry.connect()
        with self._registry.reaching(f"metrics of run {self.run_id}"):
            histories = {name: client.get_metric_history(self.run_id, name) for name in self._begun.data.metrics}
        return {name: {int(found.step): found.value for found in history} for name, history in histories.items()}

    def find_registered_version(self, model_name: str) -> int | None:
        """Return the version of a model that an earlier attempt registered, None where there is none."""
        if self._begun is None:
            return None
        client = self._registry.connect()
        with self._registry.reaching(f"versions registered by run {self.run_id}"):
            found = client.search_model_versions(f"run_id='{self.run_id}'")
        return min((int(version.version) for version in found if version.name == model_name), default=None)

    def set_tags(self, tags: Mapping[str, object]) -> None:
        """Set tags on the run."""
        with self._registry.reaching(f"tags of run {self.run_id}"):
            mlflow.set_tags(dict(tags))

    def log_params(self, params: Mapping[str, object]) -> None:
        """Record parameters; those that an earlier attempt recorded keep their values."""
        with self._registry.reaching(f"parameters of run {self.run_id}"):
            mlflow.log_params({name: value for name, value in params.items() if name not in self.params})

    def log_metrics(self, metrics: Mapping[str, float], step: int | None = None) -> None:
        """Record metrics, of an epoch if `step` says which."""
        with self._registry.reaching(f"metrics of run {self.run_id}"):
            mlflow.log_metrics(dict(metrics), step=step)

    def log_epoch(self, figures: EpochFigures) -> None:
        """Record an epoch's figures. `best_val_*` belong to the weights that will be registered.

        What an earlier attempt recorded of the epoch is not recorded again, unless the epoch, trained again on a GPU
        without deterministic kernels, came to something else.
        """
        metrics = {
            BEST_ACCURACY: figures.best_val_accuracy,
            BEST_LOSS: figures.best_val_loss,
            "val_accuracy": figures.val_accuracy,
            "val_loss": figures.val_loss,
            "train_loss": figures.train_loss,
            EPOCH_TIME: figures.epoch_time_s,
        }
        if new := {name: value for name, value in metrics.items() if not self._has(name, figures.epoch, value)}:
            self.log_metrics(new, step=figures.epoch)

    def _has(self, metric: str, step: int, value: float) -> bool:
        recorded = self.metrics.get(metric, {}).get(step)
        return recorded is not None and (metric == EPOCH_TIME or math.isclose(recorded, value, rel_tol=1e-9))

    def log_dataset(self, dataset: ImageDataset) -> None:
        """Record both halves of the data as inputs of the run, with the digests of what was really used."""
        for split, context, digest in (
            (dataset.train, "training", dataset.training_digest),
            (dataset.validation, "validation", dataset.validation_digest),
        ):
            with self._registry.reaching(f"dataset of run {self.run_id}"):
                mlflow.log_input(_describe(dataset, split, digest), context=context)

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
        with self._registry.transferring(f"file {path.name} of run {self.run_id}"):
            mlflow.log_artifact(str(path))


@contextmanager
def tracked_run(
    registry: ModelRegistry, experiment: str, run_name: str | None, tags: Mapping[str, str], training: str | None = None
) -> Iterator[TrackedRun]:
    """Open a run in an experiment, which is created if need be; the run ends as FAILED if the block raises.

    Where an earlier attempt at the same `training` began a run, that one goes on.
    """
    registry.connect()
    with registry.reaching(f"a run in experiment '{experiment}'"):
        mlflow.set_experiment(experiment)
        begun = _find_begun(experiment, training) if training else None
        identity = {TRAINING_TAG: training} if training else {}
        run_id = begun.info.run_id if begun else None
        started = mlflow.start_run(run_id, run_name=run_name, tags=dict(tags) | identity)
    status = "FAILED"
    try:
        yield TrackedRun(started.info.run_id, registry, begun)
        status = "FINISHED"
    finally:
        # Where the server went away in the middle, this must not hide the reason.
        try:
            mlflow.end_run(status)
        except mlflow.MlflowException:
            if status == "FINISHED":
                raise


def _find_begun(experiment: str, training: str) -> Run | None:
    """Return the run of an earlier attempt; one that was deleted in MLflow is none."""
    found = mlflow.search_runs(
        experiment_names=[experiment],
        filter_string=f"tags.`{TRAINING_TAG}` = '{training}'",
        order_by=["attributes.start_time ASC"],
        max_results=1,
        output_format="list",
    )
    return found[0] if found else None


def _describe(dataset: ImageDataset, split: ImageSplit, digest: str) -> NumpyDataset:
    source = CodeDatasetSource(tags={"dataset": dataset.name, "source": dataset.source})
    return NumpyDataset(split.images, source=source, targets=split.labels, name=dataset.name, digest=digest)
