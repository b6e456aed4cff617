"""The model repository in S3: what Triton reads, what is staged, what is archived, and the pointer that commits.

repository/<model>/config.pbtxt       the commit: its version policy alone says what Triton serves
repository/<model>/<N>/model.onnx     a version, complete before the policy names it
repository/<model>/<N>/metadata.json  where the version came from
staging/<model>/<N>/…                 uploads under way; Triton never reads here
archive/<model>/<N>/…                 versions no longer served
journal/<model>.json                  the release under way, with the way back
"""

import time
from functools import cached_property
from pathlib import Path

from prefect.blocks.core import Block
from prefect_aws.s3 import S3Bucket
from pydantic import BaseModel, ConfigDict, Field, HttpUrl

from blocks.object_store import FileDigest, ObjectStore


class StoredVersions(BaseModel):
    """The version numbers of a model, where they are."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    repository: tuple[int, ...] = ()
    archive: tuple[int, ...] = ()

    @property
    def next(self) -> int:
        """The number of the next version: one more than any that was ever kept, gaps are not filled."""
        return max((*self.repository, *self.archive), default=0) + 1


class ModelRepository(Block):
    """Triton's S3 model repository, with staging, archive and journal beside it."""

    _block_type_name = "Triton Model Repository"
    _block_type_slug = "triton-model-repository"
    _documentation_url = HttpUrl(
        "https://docs.nvidia.com/deeplearning/triton-inference-server/user-guide/docs/user_guide/model_repository.html"
    )

    bucket: S3Bucket = Field(description="Bucket that holds the repository.")
    repository_prefix: str = Field(default="repository", description="What Triton's --model-repository names.")
    staging_prefix: str = Field(default="staging", description="Uploads under way.")
    archive_prefix: str = Field(default="archive", description="Versions that are no longer served.")
    journal_prefix: str = Field(default="journal", description="Releases under way.")

    @cached_property
    def store(self) -> ObjectStore:
        """The bucket itself."""
        return ObjectStore(self.bucket)

    def versions(self, model_name: str) -> StoredVersions:
        """Return the version numbers in the repository and in the archive."""
        return StoredVersions(
            repository=self._numbers(f"{self.repository_prefix}/{model_name}/"),
            archive=self._numbers(f"{self.archive_prefix}/{model_name}/"),
        )

    def uri(self, model_name: str, version: int) -> str:
        """The S3 URI of a version's directory."""
        return f"s3://{self.bucket.bucket_name}/{self._version_key(model_name, version)}"

    def read_config(self, model_name: str) -> str | None:
        """Return the committed config.pbtxt, None where the model was never released."""
        content = self.store.read(self._config_key(model_name))
        return content.decode() if content is not None else None

    def commit(self, model_name: str, config: str | None) -> None:
        """Write config.pbtxt, which decides what Triton serves; None removes it, and with it the model.

        Triton takes a file for unchanged when its modification time, in whole seconds, is the one it saw before
        (S3 knows no finer ones): a commit that follows another within the same second is written again in the next.
        """
        key = self._config_key(model_name)
        if config is None:
            self.store.delete(key)
            return
        before = self.store.modified(key)
        self.store.write(key, config.encode())
        while before is not None and self.store.modified(key) == before:
            time.sleep(0.1)
            self.store.write(key, config.encode())

    def read_metadata(self, model_name: str, version: int) -> str | None:
        """Return a version's metadata.json, from the repository or the archive."""
        for prefix in (self.repository_prefix, self.archive_prefix):
            if (content := self.store.read(f"{prefix}/{model_name}/{version}/metadata.json")) is not None:
                return content.decode()
        return None

    def publish(self, model_name: str, version: int, directory: Path, files: tuple[FileDigest, ...]) -> int:
        """Put files into a version's directory by way of staging, in order; return the bytes that had to be sent.

        A file that is there already, to the last byte, is not sent again. Raises `IntegrityError` where the store
        holds something else than was sent.
        """
        staging = f"{self.staging_prefix}/{model_name}/{version}/"
        final = f"{self._version_key(model_name, version)}/"
        missing = [f for f in files if not self.store.holds(final + f.name, directory / f.name, f)]
        for file in missing:
            self.store.upload(directory / file.name, staging + file.name, file)
        for file in missing:
            self.store.copy(staging + file.name, final + file.name)
            self.store.prove(final + file.name, directory / file.name, file)
        self.store.delete(staging)
        return sum(file.size_bytes for file in missing)

    def clear_staging(self, model_name: str, version: int) -> None:
        """Delete what an interrupted upload left behind."""
        self.store.delete(f"{self.staging_prefix}/{model_name}/{version}/")

    def remove(self, model_name: str, version: int) -> None:
        """Delete a version that is not to be served."""
        self.store.delete(f"{self._version_key(model_name, version)}/")

    def archive(self, model_name: str, version: int) -> None:
        """Move a version out of Triton's sight."""
        source = f"{self._version_key(model_name, version)}/"
        for key in self.store.keys(source):
            self.store.copy(key, f"{self.archive_prefix}/{model_name}/{version}/{key[len(source) :]}")
        self.store.delete(source)

    def unarchive(self, model_name: str, version: int) -> None:
        """Bring an archived version back into the repository."""
        source = f"{self.archive_prefix}/{model_name}/{version}/"
        for key in self.store.keys(source):
            self.store.copy(key, f"{self._version_key(model_name, version)}/{key[len(source) :]}")
        self.store.delete(source)

    def read_journal(self, model_name: str) -> str | None:
        """Return the journal of a release under way, None where there is none."""
        content = self.store.read(self._journal_key(model_name))
        return content.decode() if content is not None else None

    def write_journal(self, model_name: str, entry: str) -> None:
        """Write down a release before its first change."""
        self.store.write(self._journal_key(model_name), entry.encode())

    def close_journal(self, model_name: str) -> None:
        """Close a release that is finished, or undone."""
        self.store.delete(self._journal_key(model_name))

    def _numbers(self, prefix: str) -> tuple[int, ...]:
        return tuple(sorted(int(name) for name in self.store.prefixes(prefix) if name.isdecimal()))

    def _version_key(self, model_name: str, version: int) -> str:
        return f"{self.repository_prefix}/{model_name}/{version}"

    def _config_key(self, model_name: str) -> str:
        return f"{self.repository_prefix}/{model_name}/config.pbtxt"

    def _journal_key(self, model_name: str) -> str:
        return f"{self.journal_prefix}/{model_name}.json"
