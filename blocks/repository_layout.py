"""The model repository, in S3 or a directory: what Triton reads, what is staged or archived, the pointer that commits.

repository/<model>/config.pbtxt       the commit: its version policy alone says what Triton serves
repository/<model>/labels.txt         what every version uses, say labels or a Python environment: the live version's
repository/<model>/<N>/model.onnx     a version, complete before the policy names it; its files may lie in subfolders
repository/<model>/<N>/shared/…       what the version brings for its model as a whole, see above
repository/<model>/<N>/metadata.json  where the version came from
repository/_candidate.<epoch>.<model>/<N>/…  a version under proof, by a name no client asks for
staging/<model>/<N>/…                 uploads under way; Triton never reads here
archive/<model>/<N>/…                 versions no longer served
archive/<model>/beside/…              what lay beside the versions of a model that was withdrawn
records/<model>/<N>/…                 who took the number, samples that prove the version, its receipt
records/<model>/withdrawn.json        why and when the model was last taken out of service
records/<model>/dependents/…          which versions of the model ensembles call, see slipway/releases/dependencies.py
journal/<model>.json                  the release under way, with the way back; or that the last one is closed
settings/<model>.json                 how the model is to be served from its next release on, and who said so
locks/<model>.json                    whose turn it is to change the model, and for how long

In a directory, `repository/` is what Triton reads and everything else lies in another one, see `directory_store.py`.

A model without `records/<model>/` is foreign: nothing here changes it unless slipway's steps ask for that, and they
do not.
"""

import re
from pathlib import Path
from typing import NamedTuple, Self, cast

from prefect.blocks.core import Block
from prefect_aws.s3 import S3Bucket
from pydantic import BaseModel, ConfigDict, Field, model_validator

from blocks.directory_store import DirectoryStore
from blocks.fence import Fenced
from blocks.labels import CONFIG_FILE
from blocks.object_store import ObjectStore

SHARED = "shared/"
BESIDE = "beside/"
RECORDS_FOLDER = ".slipway"  # where Triton reads a whole bucket, so that nothing can be beside what it reads
# No registered model's name starts with an underscore; releases before the epoch came had `_candidate-<model>`.
_CANDIDATE = re.compile(r"_candidate(?:-|\.(?P<epoch>[0-9]+)\.)(?P<model>.+)")


def name_candidate(model_name: str, epoch: int) -> str:
    """Return the name a model's candidate is proven under, one that no later holder of the model's lock uses."""
    return f"_candidate.{epoch}.{model_name}"


def parse_candidate(candidate: str) -> str | None:
    """Return the model whose candidate is called so, None where it is no candidate's name."""
    found = _CANDIDATE.fullmatch(candidate)
    return found["model"] if found else None


class Commit(NamedTuple):
    """A committed config.pbtxt: what Triton reads, and who wrote it."""

    config: str  # without the comment that says who wrote it
    etag: str
    epoch: int  # 0 where it does not say
    owner: str | None


class StoredVersions(BaseModel):
    """The version numbers of a model, where they are."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    repository: tuple[int, ...] = ()
    archive: tuple[int, ...] = ()


class RepositoryContents(BaseModel):
    """The names of the models that are served, known, under proof, staged and being released."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    served: frozenset[str]
    recorded: frozenset[str] = Field(description="Those slipway has a record of: its own.")
    candidates: dict[str, frozenset[str]] = Field(description="By model, the names its candidates lie under.")
    staged: frozenset[str]
    journals: frozenset[str] = Field(description="Those that were released once, whether it goes on or not.")

    @property
    def all(self) -> frozenset[str]:
        """Every name of a model that is served, proven, staged or released."""
        return self.served | frozenset(self.candidates) | self.staged | self.journals

    def is_foreign(self, model_name: str) -> bool:
        """Tell whether a model lies where Triton reads and slipway has no record of it."""
        return model_name in self.served and model_name not in self.recorded


class RepositoryLayout(Fenced, Block):
    """Where a model repository is, and where each thing lies in it."""

    bucket: S3Bucket | None = Field(default=None, description="Bucket that holds the repository.")
    models_directory: Path | None = Field(
        default=None, description="In the place of a bucket: the directory that Triton's --model-repository names."
    )
    records_directory: Path | None = Field(
        default=None, description="With it: where all that is no model goes; left out, beside it, as NAME.slipway."
    )
    repository_prefix: str = Field(default="repository", description="What Triton's --model-repository names.")
    staging_prefix: str = Field(default="staging", description="Uploads under way.")
    archive_prefix: str = Field(default="archive", description="Versions that are no longer served.")
    records_prefix: str = Field(default="records", description="What is known of each version, for good.")
    journal_prefix: str = Field(default="journal", description="Releases under way.")
    locks_prefix: str = Field(default="locks", description="Whose turn it is to change each model.")
    settings_prefix: str = Field(default="settings", description="How each model is to be served.")

    @model_validator(mode="after")
    def _has_one_place(self) -> Self:
        if (self.bucket is None) == (self.models_directory is None):
            raise ValueError("bucket and models_directory: expected exactly one of them")
        return self

    @property
    def store(self) -> ObjectStore:
        """The bucket, or the directory, itself."""
        if self.bucket is not None:
            return ObjectStore(self.bucket, self._fence)
        models = cast(Path, self.models_directory).absolute()
        records = self.records_directory or models.with_name(f"{models.name}.slipway")
        return DirectoryStore(models, records, self.repository_prefix, self._fence)

    def uri(self, model_name: str, version: int) -> str:
        """The S3 URI, or the path, of a version's directory."""
        return self.store.uri(self._version_key(model_name, version))

    def directory(self, model_name: str, version: int) -> str:
        """The prefix a served version's files are under."""
        return f"{self._version_key(model_name, version)}/"

    def model_directory(self, model_name: str) -> str:
        """The prefix of all that Triton reads of a model."""
        return f"{self._root}{model_name}/"

    def record_key(self, model_name: str, version: int, name: str) -> str:
        """The key of one file of a version's record."""
        return f"{self.records_prefix}/{model_name}/{version}/{name}"

    @property
    def _root(self) -> str:
        """What the keys of models begin with; nothing where Triton reads a whole bucket."""
        return f"{self.repository_prefix}/" if self.repository_prefix else ""

    def _version_key(self, model_name: str, version: int) -> str:
        return f"{self._root}{model_name}/{version}"

    def _config_key(self, model_name: str) -> str:
        return f"{self._root}{model_name}/{CONFIG_FILE}"

    def _lock_key(self, model_name: str) -> str:
        return f"{self.locks_prefix}/{model_name}.json"

    def _settings_key(self, model_name: str) -> str:
        return f"{self.settings_prefix}/{model_name}.json"

    def _journal_key(self, model_name: str) -> str:
        return f"{self.journal_prefix}/{model_name}.json"

    def _list_numbers(self, prefix: str) -> tuple[int, ...]:
        return tuple(sorted(int(name) for name in self.store.list_names(prefix) if name.isdecimal()))
