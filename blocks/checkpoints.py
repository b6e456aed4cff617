"""Where trainings under way keep what they have so far: of each its last checkpoint, whole or not there at all.

checkpoints/<training>/<random>.pt  what the training had after an epoch
checkpoints/<training>/latest.json  names the file that counts, written once the store has proven it

A training's name may have slashes, the first part is the flow run that it belongs to.
"""

from datetime import UTC, datetime, timedelta
from functools import cached_property
from pathlib import Path
from uuid import uuid4

from prefect.blocks.core import Block
from prefect_aws.s3 import S3Bucket
from pydantic import BaseModel, ConfigDict, Field, HttpUrl, ValidationError

from blocks.checksums import FileDigest
from blocks.errors import IntegrityError
from blocks.labels import LATEST_FILE
from blocks.object_store import ObjectStore


class Checkpoint(BaseModel):
    """A checkpoint that is complete in the store: after which epoch, of which MLflow run, and its file."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    key: str
    epoch: int = Field(ge=1)
    run_id: str
    file: FileDigest


class Checkpoints(Block):
    """The checkpoints of trainings under way, which let a killed one go on where it was."""

    _block_type_name = "Training Checkpoints"
    _block_type_slug = "training-checkpoints"
    _documentation_url = HttpUrl("https://docs.pytorch.org/tutorials/beginner/saving_loading_models.html")

    bucket: S3Bucket = Field(description="Bucket that holds the checkpoints.")
    prefix: str = Field(default="checkpoints", min_length=1, description="Where in the bucket they are.")
    retention_days: float = Field(
        default=14, gt=0, description="Days after which the checkpoints of a training that never came back are deleted."
    )

    @cached_property
    def store(self) -> ObjectStore:
        """The bucket itself."""
        return ObjectStore(self.bucket)

    def keep(self, training: str, epoch: int, run_id: str, file: Path) -> None:
        """Store a file as a training's latest checkpoint, and delete those before it.

        Broken off at any point, the checkpoint before still is the latest. Raises `IntegrityError` where the store
        holds something else than was sent.
        """
        digest = FileDigest.of(file)
        checkpoint = Checkpoint(key=f"{self._place(training)}{uuid4().hex}.pt", epoch=epoch, run_id=run_id, file=digest)
        self.store.upload(file, checkpoint.key, digest)
        self.store.write(self._place(training) + LATEST_FILE, checkpoint.model_dump_json().encode())
        for key in self.store.list_keys(self._place(training)):
            if key not in (checkpoint.key, self._place(training) + LATEST_FILE):
                self.store.delete(key)

    def find_latest(self, training: str) -> Checkpoint | None:
        """Return a training's latest checkpoint, None where it has none; `IntegrityError` where that is damaged."""
        content = self.store.read(self._place(training) + LATEST_FILE)
        try:
            return Checkpoint.model_validate_json(content) if content is not None else None
        except ValidationError as error:
            raise IntegrityError(
                f"checkpoint of training {training} in {self.store.address}: {LATEST_FILE} is damaged "
                f"({error.error_count()} errors); expected what `keep` wrote: delete it to begin anew"
            ) from error

    def list_others(self, training: str) -> list[str]:
        """Return the names of the other trainings that keep something in the same flow run."""
        flow_run, _, own = training.partition("/")
        return [f"{flow_run}/{name}" for name in self.store.list_prefixes(f"{self.prefix}/{flow_run}/") if name != own]

    def fetch(self, checkpoint: Checkpoint, into: Path) -> None:
        """Stream a checkpoint into a file; `IntegrityError` where it is gone or not what was stored."""
        subject = f"{self.store.address}, key {checkpoint.key}"
        if not self.store.exists(checkpoint.key):
            raise IntegrityError(f"{subject}: is gone; expected the checkpoint after epoch {checkpoint.epoch}")
        self.store.download(checkpoint.key, into)
        if (found := FileDigest.of(into)).sha256 != checkpoint.file.sha256:
            raise IntegrityError(
                f"{subject}: has {found.size_bytes} bytes with SHA-256 {found.sha256}, expected "
                f"{checkpoint.file.size_bytes} with {checkpoint.file.sha256}"
            )

    def discard(self, training: str) -> None:
        """Delete everything a training keeps here; one that keeps nothing is no error."""
        self.store.delete_below(self._place(training))

    def discard_abandoned(self) -> list[str]:
        """Delete what flow runs keep here that have not written for `retention_days`; return their ids."""
        oldest = datetime.now(UTC) - timedelta(days=self.retention_days)
        abandoned = [name for name in self.store.list_prefixes(f"{self.prefix}/") if self._last_written(name) < oldest]
        for name in abandoned:
            self.discard(name)
        return abandoned

    def _last_written(self, flow_run: str) -> datetime:
        times = [self.store.get_modified(key) for key in self.store.list_keys(f"{self.prefix}/{flow_run}/")]
        # deleted meanwhile by its own training: nothing left to delete
        return max((time for time in times if time is not None), default=datetime.now(UTC))

    def _place(self, training: str) -> str:
        return f"{self.prefix}/{training}/"
