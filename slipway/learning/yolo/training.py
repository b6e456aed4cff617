"""Training of a detector: ultralytics trains it, MLflow keeps its figures and the weights of its best epoch."""

import tempfile
from pathlib import Path
from typing import Any

import torch

from blocks.checksums import FileDigest
from blocks.errors import InvalidInput, bounded
from blocks.labels import BEST_EPOCH_PARAM, DATASET_PARAM, INPUT_SHAPE_PARAM
from blocks.registry import ModelRegistry
from blocks.run import say
from slipway.learning.tracking import TrackedRun, tracked_run
from slipway.learning.yolo.extra import load_ultralytics
from slipway.learning.yolo.parameters import DetectorSettings
from slipway.learning.yolo.results import DatasetSplit, TrainedDetector
from slipway.learning.yolo.splitting import lay_out

WEIGHTS_FILE = "best.pt"
_MAP = "metrics/mAP50-95(B)"


class _Epochs:
    """What every finished epoch came to, told to MLflow and the log; which one was best."""

    def __init__(self, run: TrackedRun) -> None:
        self._run = run
        self.best_epoch = 0

    def record(self, trainer: Any) -> None:
        """Record an epoch; what ultralytics reports of the best weights, once all are over, is no epoch."""
        if not any(name.startswith("val/") for name in trainer.metrics):
            return
        epoch = int(trainer.epoch) + 1
        if trainer.fitness is not None and trainer.fitness == trainer.best_fitness:
            self.best_epoch = epoch
        figures = {**trainer.label_loss_items(trainer.tloss, prefix="train"), **trainer.metrics, **trainer.lr}
        self._run.log_metrics(_name_metrics(figures), step=epoch)
        say(f"epoch {epoch} of {trainer.epochs}: mAP50-95 {float(trainer.metrics[_MAP]):.4f}")


def train_detector(settings: DetectorSettings, split: DatasetSplit, *, registry: ModelRegistry) -> TrainedDetector:
    """Train a YOLO network on the first part of a split, and keep the epoch that is best on the second.

    Uses a GPU where there is one. Parameters, figures of every epoch and the best weights go to an MLflow run
    `train-<model>`; nothing is registered. Raises `InvalidInput` where ultralytics or the network is not there.
    """
    ultralytics = load_ultralytics()
    network = _open_network(ultralytics, settings.network)
    with (
        tracked_run(registry, settings.model_name, f"train-{settings.model_name}", _make_tags(settings)) as run,
        tempfile.TemporaryDirectory(prefix="slipway-yolo-") as directory,
    ):
        run.log_params(_make_params(settings, split, ultralytics.__version__))
        run.log_text(split.model_dump_json(indent=2), "split.json")
        epochs = _Epochs(run)
        network.add_callback("on_fit_epoch_end", epochs.record)
        network.train(**_make_arguments(settings, lay_out(split, Path(directory) / "data"), Path(directory)))
        best = Path(network.trainer.best)
        figures = _name_metrics(network.trainer.metrics)
        run.log_metrics({f"best_{name.rpartition('/')[2]}": value for name, value in figures.items()})
        run.log_params({BEST_EPOCH_PARAM: epochs.best_epoch})
        run.log_file(best)
        return TrainedDetector(
            model_name=settings.model_name,
            run_id=run.run_id,
            weights_sha256=FileDigest.of(best).sha256,
            image_size=settings.image_size,
            best_epoch=epochs.best_epoch,
            validation_map50_95=float(network.trainer.metrics[_MAP]),
        )


def _open_network(ultralytics: Any, network: str) -> Any:
    try:
        return ultralytics.YOLO(network, task="detect")
    except Exception as error:
        raise InvalidInput(
            f"network {network!r}: ultralytics cannot open it ({bounded(error)}); expected a description such as "
            "yolo11n.yaml, or the path of weights (.pt)"
        ) from error


def _make_arguments(settings: DetectorSettings, data: Path, directory: Path) -> dict[str, Any]:
    return {
        "data": str(data),
        "epochs": settings.epochs,
        "batch": settings.batch_size,
        "imgsz": settings.image_size,
        "patience": settings.patience,
        "workers": settings.num_workers,
        "seed": settings.seed,
        "deterministic": True,
        "device": choose_device(),
        "project": str(directory / "runs"),
        "name": "train",
        "exist_ok": True,
        "plots": False,
        "verbose": False,
    }


def choose_device() -> int | str:
    """Return the first GPU as ultralytics names it, `cpu` where there is none."""
    return 0 if torch.cuda.is_available() else "cpu"


def _name_metrics(figures: dict[str, Any]) -> dict[str, float]:
    """Return figures by names that MLflow takes."""
    return {name.replace("(", "").replace(")", ""): float(value) for name, value in figures.items()}


def _make_tags(settings: DetectorSettings) -> dict[str, str]:
    return {"architecture": Path(settings.network).stem, "pretrained": str(settings.network.endswith(".pt")).lower()}


def _make_params(settings: DetectorSettings, split: DatasetSplit, version: str) -> dict[str, object]:
    return {
        DATASET_PARAM: split.root,
        INPUT_SHAPE_PARAM: f"1,3,{settings.image_size},{settings.image_size}",
        "data.classes": ",".join(split.classes)[:500],
        "data.digest": split.digest,
        "data.training_images": len(split.train),
        "data.validation_images": len(split.validation),
        "data.test_images": len(split.test),
        **{f"training.{name}": value for name, value in settings.model_dump(exclude={"model_name"}).items()},
        "device": torch.cuda.get_device_name() if torch.cuda.is_available() else "cpu",
        "ultralytics_version": version,
    }
