"""A registered model as it was fetched, and its files on this machine, fetched again where they are gone."""

import hashlib
import shutil
import tempfile
from functools import lru_cache
from pathlib import Path

from pydantic import BaseModel, ConfigDict, Field

from blocks.checksums import FileDigest
from blocks.errors import IntegrityError
from blocks.fleet import Tensors
from blocks.labels import GOLDEN_FILE
from blocks.registry import ModelRegistry, RegisteredVersion
from slipway.formats.contents import Contents
from slipway.formats.signature import Signature
from slipway.releases.samples import Samples, read_samples
from slipway.releases.workspace import workspace


class FetchedModel(BaseModel):
    """One version of a registered model, as it was found on disk; the files themselves are not in here."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    source: str = Field(description="What was asked for: alias:NAME or version:N.")
    registered: RegisteredVersion
    contents: Contents
    files: tuple[FileDigest, ...] = Field(description="What Triton needs, by its path below the version's directory.")
    golden: FileDigest | None = Field(description="Inputs with the outputs PyTorch gave, None where there are none.")

    @property
    def model_name(self) -> str:
        """Name of the registered model."""
        return self.registered.model_name

    @property
    def signature(self) -> Signature:
        """What the model takes and gives."""
        return self.contents.signature

    @property
    def size_bytes(self) -> int:
        """Size of everything Triton needs."""
        return sum(file.size_bytes for file in self.files)

    @property
    def subject(self) -> str:
        """Model and version, for messages."""
        return name_version(self.registered)


def name_version(registered: RegisteredVersion) -> str:
    """Return what messages call a registered version."""
    return f"model '{registered.model_name}' version {registered.version}"


def download(registered: RegisteredVersion, registry: ModelRegistry) -> Path:
    """Download a version beside its place and put it there whole, so that whoever looks sees all or nothing."""
    from slipway.formats.catalogue import arrange_model  # most steps need a model's files no more

    final = _place(registered, registry)
    final.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=final.parent, prefix=".download-") as temporary:
        found = _find_directory(registry.download(registered, Path(temporary) / "model"))
        arrange_model(found, name_version(registered))
        shutil.rmtree(final, ignore_errors=True)
        found.rename(final)
    return final


def ensure_files(fetched: FetchedModel, registry: ModelRegistry) -> Path:
    """Return the directory with a fetched model's files, downloaded again where they are gone or damaged.

    A run that goes on in another process, and a step run from a shell, find none: they download them once more.
    """
    directory = _place(fetched.registered, registry)
    wanted = (*fetched.files, *([fetched.golden] if fetched.golden else []))
    if all((directory / file.name).exists() and digest(directory, file.name) == file for file in wanted):
        return directory
    directory = download(fetched.registered, registry)
    for file in wanted:
        compare_digests(digest(directory, file.name), file, fetched.registered)
    return directory


def load_golden(fetched: FetchedModel, registry: ModelRegistry) -> Samples | None:
    """Return the samples a model was registered with, None where there are none."""
    if fetched.golden is None:
        return None
    return read_samples(ensure_files(fetched, registry) / GOLDEN_FILE, f"{fetched.subject}, {GOLDEN_FILE}")


def load_example(fetched: FetchedModel, registry: ModelRegistry) -> Tensors | None:
    """Return the input example a model was logged with, None where there is none that it takes."""
    from slipway.formats.example import read_example  # most steps ask nothing

    return read_example(ensure_files(fetched, registry), fetched.signature)


def digest(directory: Path, name: str) -> FileDigest:
    """Digest a file of a version, again only where this process has not seen it as it is now."""
    stat = (directory / name).stat()
    return _digest_as_it_is(directory, name, (stat.st_ino, stat.st_size, stat.st_mtime_ns, stat.st_ctime_ns))


def compare_digests(observed: FileDigest, expected: FileDigest, registered: RegisteredVersion) -> None:
    """Raise `IntegrityError` where a file is not the one that was registered."""
    if observed.sha256 != expected.sha256:
        raise IntegrityError(
            f"{name_version(registered)}: {observed.name} has SHA-256 {observed.sha256}, registered was "
            f"{expected.sha256}; the file changed after gate 2: register it again"
        )


@lru_cache(maxsize=100)
def _digest_as_it_is(directory: Path, name: str, state: tuple[int, ...]) -> FileDigest:  # noqa: ARG001
    return FileDigest.of(directory / name, name)


def _find_directory(downloaded: Path) -> Path:
    """Return the directory of what was downloaded: a version's source may be a single file, as runs:/… can name one."""
    return downloaded if downloaded.is_dir() else downloaded.parent


def _place(registered: RegisteredVersion, registry: ModelRegistry) -> Path:
    of_registry = hashlib.sha256(registry.tracking_uri.encode()).hexdigest()[:12]
    return workspace() / of_registry / registered.model_name / str(registered.version)
