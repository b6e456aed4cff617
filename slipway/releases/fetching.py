"""Step 1, fetch-model: resolve an alias once, stream the version's files to disk, check them."""

import hashlib
import shutil
import tempfile
from concurrent.futures import ThreadPoolExecutor
from functools import lru_cache
from pathlib import Path

from prefect import task
from prefect.cache_policies import INPUTS, RUN_ID, TASK_SOURCE
from pydantic import BaseModel, ConfigDict, Field

from blocks.checksums import FileDigest
from blocks.errors import IntegrityError
from blocks.names import ModelName, Source
from blocks.registry import ModelRegistry, RegisteredVersion
from slipway.formats.mlmodel import name_model_file
from slipway.formats.onnx import MODEL_FILE, ModelSignature, external_files, read_signature
from slipway.releases.golden import GOLDEN_FILE, check_golden
from slipway.releases.workspace import workspace

CHECKSUM_TAG = "sha256/"


class FetchedModel(BaseModel):
    """One version of a registered ONNX model, as it was found on disk; the files themselves are not in here."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    source: str = Field(description="What was asked for: alias:NAME or version:N.")
    registered: RegisteredVersion
    files: tuple[FileDigest, ...] = Field(description="model.onnx and its external data: what Triton needs.")
    golden: FileDigest | None = Field(description="Inputs with the outputs PyTorch gave, None where there are none.")
    signature: ModelSignature

    @property
    def model_name(self) -> str:
        """Name of the registered model."""
        return self.registered.model_name

    @property
    def size_bytes(self) -> int:
        """Size of everything Triton needs."""
        return sum(file.size_bytes for file in self.files)


@task(
    name="fetch-model",
    task_run_name="fetch-model",
    cache_policy=(INPUTS + RUN_ID + TASK_SOURCE) - "registry",
)
def fetch_model(model_name: ModelName, source: Source = "alias:deploy", *, registry: ModelRegistry) -> FetchedModel:
    """Download a registered ONNX model and check it.

    Raises:
        NotRegistered: the registry knows no such model, alias or version.
        UnusableModel: the files are corrupt, incomplete, hold NaN or point outside their directory, or the golden
            samples are not such of this model.
        IntegrityError: a file is not the one that was registered, by the SHA-256 in the version's tags.
    """
    registered = registry.resolve(model_name, source)
    subject = f"model '{model_name}' version {registered.version}"
    directory = _downloaded(registered, registry, subject)
    names = (MODEL_FILE, *external_files(directory, subject))
    with ThreadPoolExecutor(1) as beside:
        digests = beside.map(_digest, (directory / name for name in names))
        signature = read_signature(directory, subject)
    check_golden(directory, signature, subject)
    fetched = FetchedModel(
        source=source,
        registered=registered,
        files=tuple(digests),
        golden=_digest(directory / GOLDEN_FILE) if (directory / GOLDEN_FILE).exists() else None,
        signature=signature,
    )
    _compare_with_registration(fetched)
    return fetched


def local_files(fetched: FetchedModel, registry: ModelRegistry) -> Path:
    """Return the directory with a fetched model's files, downloaded again where they are gone or damaged.

    A run that goes on in another process, and a step run from a shell, find none: they download them once more.
    """
    directory = _directory(fetched.registered, registry)
    wanted = (*fetched.files, *([fetched.golden] if fetched.golden else []))
    if all((directory / file.name).exists() and _digest(directory / file.name) == file for file in wanted):
        return directory
    subject = f"model '{fetched.model_name}' version {fetched.registered.version}"
    directory = _downloaded(fetched.registered, registry, subject)
    for file in wanted:
        _compare(_digest(directory / file.name), file, fetched.registered)
    return directory


def _digest(path: Path) -> FileDigest:
    """Digest a file, again only where this process has not seen it as it is now."""
    stat = path.stat()
    return _digest_as_it_is(path, (stat.st_ino, stat.st_size, stat.st_mtime_ns, stat.st_ctime_ns))


@lru_cache(maxsize=100)
def _digest_as_it_is(path: Path, state: tuple[int, ...]) -> FileDigest:  # noqa: ARG001
    return FileDigest.of(path)


def _directory(registered: RegisteredVersion, registry: ModelRegistry) -> Path:
    of_registry = hashlib.sha256(registry.tracking_uri.encode()).hexdigest()[:12]
    return workspace() / of_registry / registered.model_name / str(registered.version)


def _downloaded(registered: RegisteredVersion, registry: ModelRegistry, subject: str) -> Path:
    """Download beside its place and put it there whole, so that whoever looks sees all or nothing."""
    final = _directory(registered, registry)
    final.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=final.parent, prefix=".download-") as temporary:
        found = registry.download(registered, Path(temporary) / "model")
        name_model_file(found, subject)
        shutil.rmtree(final, ignore_errors=True)
        found.rename(final)
    return final


def _compare_with_registration(fetched: FetchedModel) -> None:
    for file in (*fetched.files, *([fetched.golden] if fetched.golden else [])):
        if recorded := fetched.registered.tags.get(f"{CHECKSUM_TAG}{file.name}"):
            _compare(file, file.model_copy(update={"sha256": recorded}), fetched.registered)


def _compare(observed: FileDigest, expected: FileDigest, registered: RegisteredVersion) -> None:
    if observed.sha256 != expected.sha256:
        raise IntegrityError(
            f"model '{registered.model_name}' version {registered.version}: {observed.name} has SHA-256 "
            f"{observed.sha256}, registered was {expected.sha256}; the file changed after gate 2: register it again"
        )
