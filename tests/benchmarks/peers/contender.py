"""What each contender is asked to do, and the ground they all stand on: one MLflow, one S3, the same two Tritons."""

import os
import subprocess
import sys
from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from typing import ClassVar, NamedTuple
from uuid import uuid4

from blocks.environment import Environment
from blocks.errors import SlipwayError
from infra.local.settings import MODELS_BUCKET, REPOSITORY_PREFIX, ROOT
from tests.benchmarks.peers.asking import Endpoint

WHOLE_BUCKET = "peers-scripts"  # the reference's scripts know buckets that Triton reads as a whole
COMMAND_S = 300.0


class Unavailable(Exception):
    """Raised when a contender, or one thing of it, cannot be had; the text is the reason for the table."""


class Failed(Exception):
    """Raised when a contender's command ends with an error."""


class Ground(NamedTuple):
    """The servers all use, and a folder for what they write on this machine."""

    environment: Environment
    variables: Mapping[str, str]  # MLflow, keys of S3
    s3_url: str
    http: Sequence[str]  # of each Triton, host:port
    grpc: Sequence[str]
    folder: Path


class Contender(ABC):
    """One way to get a registered model served; each call is what a person, or a pipeline, would run."""

    title: ClassVar[str]
    slug: ClassVar[str]
    prefix: ClassVar[str] = f"{REPOSITORY_PREFIX}/"
    bucket: ClassVar[str] = MODELS_BUCKET

    def __init__(self, ground: Ground) -> None:
        self.ground, self.model_name = ground, f"peers-{self.slug}-{uuid4().hex[:6]}-onnx"
        self.folder = ground.folder / self.model_name
        self.folder.mkdir(parents=True)

    @property
    def endpoints(self) -> list[Endpoint]:
        """Where clients ask: both Tritons, unless it serves by itself."""
        return [Endpoint.of_kserve(address, self.model_name) for address in self.ground.http]

    @abstractmethod
    def deploy(self, version: int) -> None:
        """Put the first version into service."""

    def update(self, version: int) -> None:
        """Put another version into service."""
        self.deploy(version)

    @abstractmethod
    def undo(self) -> None:
        """Go back from version 2 to version 1."""

    @abstractmethod
    def delete(self) -> None:
        """Take the model out of service."""

    def restart(self) -> str:
        """Do to the model what a restart does, on the last Triton alone; return what that answers then."""
        fleet, address = self.ground.environment.fleet, self.ground.grpc[-1]
        fleet.unload_model(address, self.model_name)
        with suppress(SlipwayError):  # what it serves then is what is looked at
            fleet.load_model(address, self.model_name)
        return Endpoint.of_kserve(self.ground.http[-1], self.model_name).ask()

    def list_files(self) -> dict[str, str]:
        """Return what lies where servers would load it from: paths below the model, with what tells contents apart."""
        start = f"{self.prefix}{self.model_name}/"
        found = self.ground.environment.repository.store.client.list_objects_v2(Bucket=self.bucket, Prefix=start)
        return {each["Key"].removeprefix(start): each["ETag"] for each in found.get("Contents", [])}

    def clean_up(self) -> None:
        """Leave the ground as it was, whatever the contender left."""
        fleet, client = self.ground.environment.fleet, self.ground.environment.repository.store.client
        for address in fleet.list_addresses():
            fleet.unload_model(address, self.model_name)
        for name in self.list_files():
            client.delete_object(Bucket=self.bucket, Key=f"{self.prefix}{self.model_name}/{name}")

    def run(self, *command: str | Path, **variables: str) -> str:
        """Run a command in the contender's folder; return what it printed, `Failed` with its last line otherwise."""
        ours = ("SLIPWAY_", "PREFECT_", "MLFLOW_", "AWS_", "TRITON_", "PYTHON", "VIRTUAL_ENV")
        clean = {name: value for name, value in os.environ.items() if not name.startswith(ours)}
        log = self.folder / "log"
        with log.open("ab") as output:
            output.write(f"$ {' '.join(map(str, command))}\n".encode())
            output.flush()
            begins = output.tell()
            ended = subprocess.run(
                list(map(str, command)),
                cwd=self.folder,
                env=clean | dict(self.ground.variables) | variables,
                stdout=output,
                stderr=output,
                timeout=COMMAND_S,
                check=False,
            )
        printed = log.read_bytes()[begins:].decode(errors="replace")
        if ended.returncode != 0:
            lines = [line for line in printed.splitlines() if len(line.strip()) > 1]
            raise Failed(f"exit {ended.returncode}: {lines[-1] if lines else 'nothing printed'}")
        return printed

    def run_python(self, *arguments: str | Path, **variables: str) -> str:
        """Run this environment's Python, where slipway is installed."""
        return self.run(sys.executable, *arguments, PYTHONPATH=str(ROOT), **variables)
