"""Resuming: a training that was killed goes on after the last epoch it kept."""

import hashlib
import json
import tempfile
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

import torch

from blocks.checkpoints import Checkpoints
from blocks.errors import IntegrityError, InvalidInput, ServiceUnavailable, SlipwayError
from blocks.labels import CHECKPOINT_FAILED_TAG, RESUMED_FROM_TAG, RESUMPTIONS_TAG
from blocks.run import SHELL, get_flow_run_id, say, warn
from slipway.learning.datasets import ImageDataset
from slipway.learning.fitting import Fitting
from slipway.learning.history import EpochFigures
from slipway.learning.parameters import TrainingSettings
from slipway.learning.recipes import follow_recipe
from slipway.learning.resnet import ARCHITECTURE
from slipway.learning.tracking import TrackedRun

FORMAT = 2  # part of a training's name, so that nobody reads a checkpoint of another format


def name_training(settings: TrainingSettings, images: ImageDataset) -> str | None:
    """Return what all attempts at a training are called, `<flow run id>/<fingerprint>`; None outside of a flow run.

    The fingerprint covers all that decides what is computed: another setting or image makes another training.
    """
    if (flow_run_id := get_flow_run_id()) == SHELL:
        return None
    deciding = {
        "format": FORMAT,
        "architecture": ARCHITECTURE,
        "settings": settings.model_dump(mode="json"),
        "recipe": follow_recipe(settings).model_dump(mode="json"),
        "data": [images.training_digest, images.validation_digest],
    }
    return f"{flow_run_id}/{hashlib.sha256(json.dumps(deciding, sort_keys=True).encode()).hexdigest()[:16]}"


class EpochKeeper:
    """Keeps what finished epochs came to: first a checkpoint, written in the background, then the figures in MLflow.

    In this order MLflow shows no epoch that a killed training has to train again. An epoch that finishes while a
    checkpoint is being written gets none, so that short epochs do not wait. A checkpoint that cannot be written leads
    to a warning and a tag, and the training goes on.
    """

    def __init__(self, run: TrackedRun, training: str | None, checkpoints: Checkpoints | None) -> None:
        self._run, self._training = run, training or ""
        self._checkpoints = checkpoints if training else None
        self._unrecorded: list[EpochFigures] = []
        self._background = ThreadPoolExecutor(1, thread_name_prefix="checkpoint")
        self._writing: tuple[int, Future[None]] | None = None

    def resume(self, begin: Callable[[], Fitting]) -> Fitting:
        """Return the training as its checkpoint holds it, or as `begin` makes it where there is no usable checkpoint.

        A damaged checkpoint leads to a warning, and the training begins anew. Raises `ServiceUnavailable` where the
        store does not answer, since a training that begins anew would overwrite what the store holds.
        """
        fitting = begin()
        try:
            self._restore(fitting)
        except ServiceUnavailable:
            raise
        except Exception as error:  # noqa: BLE001 - PyTorch raises a type of its own for each way a file is damaged
            warn(f"training {self._training} begins anew, its checkpoint cannot be used: {error}")
            fitting = begin()
        if self._run.is_continued:
            resumptions = int(self._run.tags.get(RESUMPTIONS_TAG, 0)) + 1
            self._run.set_tags({RESUMED_FROM_TAG: fitting.epoch, RESUMPTIONS_TAG: resumptions})
        self._unrecorded.extend(fitting.history)
        self._record(fitting.epoch)
        return fitting

    def keep(self, fitting: Fitting) -> None:
        """Keep the epoch that just finished."""
        self._unrecorded.append(fitting.history[-1])
        if self._checkpoints is None:
            self._record(fitting.epoch)
            return
        if fitting.steps_left == 0:
            self._settle()
        self.look()
        if self._writing is None:
            writing = self._background.submit(self._write, self._checkpoints, fitting.epoch, fitting.snapshot())
            self._writing = fitting.epoch, writing

    def look(self) -> None:
        """Record the epochs whose checkpoint has been written meanwhile; cheap enough to be called in every step."""
        if self._writing is not None and self._writing[1].done():
            self._settle()

    def finish(self) -> None:
        """Wait for the last checkpoint, and record every epoch."""
        self._settle()
        self._record(None)

    def discard(self) -> None:
        """Delete the checkpoints of this training, which has ended, and of abandoned ones."""
        self._settle()
        if self._checkpoints is None:
            return
        try:
            self._checkpoints.discard(self._training)
            if abandoned := self._checkpoints.discard_abandoned():
                say(f"deleted the checkpoints of {len(abandoned)} abandoned flow runs: {', '.join(abandoned)}")
        except SlipwayError as error:
            warn(f"checkpoints were not deleted, a later training will: {error}")

    def close(self) -> None:
        """Begin no further checkpoint, and let one that is being written finish."""
        self._background.shutdown(wait=False)

    def _restore(self, fitting: Fitting) -> None:
        if self._checkpoints is None:
            return
        if (checkpoint := self._checkpoints.find_latest(self._training)) is None:
            if others := self._checkpoints.list_others(self._training):
                warn(
                    f"training {self._training} begins anew: this flow run keeps checkpoints of {', '.join(others)}, "
                    "with other settings, other images or by an earlier slipway; expected one of this training"
                )
            return
        with tempfile.TemporaryDirectory(prefix="slipway-") as directory:
            file = Path(directory) / "checkpoint.pt"
            self._checkpoints.fetch(checkpoint, file)
            snapshot = torch.load(file, map_location="cpu", weights_only=True)
        if (found := snapshot["training"]) != self._training:
            raise IntegrityError(f"key {checkpoint.key}: holds training {found}, expected {self._training}")
        fitting.restore(snapshot)
        say(f"goes on after epoch {fitting.epoch}, from checkpoint {checkpoint.key}")

    def _write(self, checkpoints: Checkpoints, epoch: int, snapshot: dict[str, Any]) -> None:
        with tempfile.TemporaryDirectory(prefix="slipway-") as directory:
            file = Path(directory) / "checkpoint.pt"
            torch.save({"training": self._training, **snapshot}, file)
            checkpoints.keep(self._training, epoch, self._run.run_id, file)

    def _settle(self) -> None:
        if self._writing is None:
            return
        (epoch, writing), self._writing = self._writing, None
        if (error := writing.exception()) is not None:
            warn(f"no checkpoint after epoch {epoch}, training goes on: {error}")
            self._run.set_tags({CHECKPOINT_FAILED_TAG: f"epoch {epoch}: {error}"[:500]})
        self._record(epoch)

    def _record(self, up_to_epoch: int | None) -> None:
        while self._unrecorded and (up_to_epoch is None or self._unrecorded[0].epoch <= up_to_epoch):
            self._run.log_epoch(self._unrecorded[0])
            del self._unrecorded[0]


@contextmanager
def keeping_epochs(run: TrackedRun, training: str | None, checkpoints: Checkpoints | None) -> Iterator[EpochKeeper]:
    """Yield the keeper of a training's epochs; a training that failed by its own fault leaves no checkpoint."""
    keeper = EpochKeeper(run, training, checkpoints)
    try:
        yield keeper
    except Exception as error:
        with suppress(ServiceUnavailable):  # the error that stopped the training is raised
            keeper.finish()
            if isinstance(error, InvalidInput):
                keeper.discard()
        raise
    finally:
        keeper.close()
