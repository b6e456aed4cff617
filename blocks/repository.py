"""The model repository in S3: what Triton reads, what is staged, what is archived, and the pointer that commits.

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

A model without `records/<model>/` is foreign: nothing here changes it unless slipway's steps ask for that, and they
do not.
"""

import re
import time
from pathlib import Path
from typing import NamedTuple, NoReturn, Self, cast
from uuid import uuid4

from prefect.blocks.core import Block
from prefect_aws.s3 import S3Bucket
from pydantic import BaseModel, ConfigDict, Field, HttpUrl, model_validator

from blocks.checksums import FileDigest
from blocks.directory_store import DirectoryStore
from blocks.errors import IntegrityError, ReleaseTakenOver, VersionConflict
from blocks.fence import Fenced
from blocks.labels import CLAIM_FILE, CONFIG_FILE, METADATA_FILE
from blocks.object_store import ObjectStore, StoredObject

SHARED = "shared/"
BESIDE = "beside/"
RECORDS_FOLDER = ".slipway"  # where Triton reads a whole bucket, so that nothing can be beside what it reads
# No registered model's name starts with an underscore; releases before the epoch came had `_candidate-<model>`.
_CANDIDATE = re.compile(r"_candidate(?:-|\.(?P<epoch>[0-9]+)\.)(?P<model>.+)")
_COMMIT = re.compile(r"^# slipway: epoch (?P<epoch>[0-9]+) of (?P<owner>\S+), [0-9a-f]+\n")


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


class ModelRepository(Fenced, Block):
    """Triton's S3 model repository, with staging, archive and journal beside it."""

    _block_type_name = "Triton Model Repository"
    _block_type_slug = "triton-model-repository"
    _documentation_url = HttpUrl(
        "https://docs.nvidia.com/deeplearning/triton-inference-server/user-guide/docs/user_guide/model_repository.html"
    )

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

    @property
    def _root(self) -> str:
        """What the keys of models begin with; nothing where Triton reads a whole bucket."""
        return f"{self.repository_prefix}/" if self.repository_prefix else ""

    def contents(self) -> RepositoryContents:
        """Return which models there are, by where they have left anything."""
        names = [name for name in self.store.prefixes(self._root) if name != RECORDS_FOLDER]
        journals = self.store.keys(f"{self.journal_prefix}/")
        candidates: dict[str, frozenset[str]] = {}
        for name in names:
            if (model := parse_candidate(name)) is not None:
                candidates[model] = candidates.get(model, frozenset()) | {name}
        return RepositoryContents(
            served=frozenset(name for name in names if parse_candidate(name) is None),
            recorded=frozenset(self.store.prefixes(f"{self.records_prefix}/")),
            candidates=candidates,
            staged=frozenset(self.store.names_of_keys(f"{self.staging_prefix}/")),
            journals=frozenset(key.removeprefix(f"{self.journal_prefix}/").removesuffix(".json") for key in journals),
        )

    def versions(self, model_name: str) -> StoredVersions:
        """Return the version numbers in the repository and in the archive."""
        return StoredVersions(
            repository=self._list_numbers(f"{self._root}{model_name}/"),
            archive=self._list_numbers(f"{self.archive_prefix}/{model_name}/"),
        )

    def recorded_versions(self, model_name: str) -> tuple[int, ...]:
        """Return every version number slipway ever took for a model; none where the model is not slipway's."""
        return self._list_numbers(f"{self.records_prefix}/{model_name}/")

    def is_foreign(self, model_name: str) -> bool:
        """Tell whether something lies under a model's name where Triton reads, and slipway has no record of it."""
        return not self.recorded_versions(model_name) and bool(self.store.keys(f"{self._root}{model_name}/"))

    def list_strange(self, model_name: str) -> tuple[str, ...]:
        """Return the folders of a model whose names Triton takes for version numbers, though they are none: `3.old`."""
        names = self.store.names_of_keys(f"{self._root}{model_name}/")
        return tuple(name for name in names if re.match(r"[+-]?[0-9]", name) and not name.isdecimal())

    def list_files(self, model_name: str, version: int) -> tuple[str, ...]:
        """Return the files of a version where Triton reads, by their paths below its folder."""
        directory = self.directory(model_name, version)
        return tuple(key.removeprefix(directory) for key in self.store.keys(directory) if not key.endswith("/"))

    def read_beside(self, model_name: str, name: str) -> bytes | None:
        """Return one file that lies beside a model's versions where Triton reads, None where there is none."""
        return self.store.read(f"{self._root}{model_name}/{name}")

    def forget(self, model_name: str) -> None:
        """Delete what is recorded of a model's versions: it is nobody's that slipway knows then."""
        for version in self.recorded_versions(model_name):
            self.store.delete_below(f"{self.records_prefix}/{model_name}/{version}/")

    def next_version(self, model_name: str) -> int:
        """Return the number of the next version: one more than any that was ever taken, gaps are not filled."""
        stored = self.versions(model_name)
        return max((*stored.repository, *stored.archive, *self.recorded_versions(model_name)), default=0) + 1

    def uri(self, model_name: str, version: int) -> str:
        """The S3 URI, or the path, of a version's directory."""
        return self.store.uri(self._version_key(model_name, version))

    def directory(self, model_name: str, version: int) -> str:
        """The prefix a served version's files are under."""
        return f"{self._version_key(model_name, version)}/"

    def model_directory(self, model_name: str) -> str:
        """The prefix of all that Triton reads of a model."""
        return f"{self._root}{model_name}/"

    def read_config(self, model_name: str) -> str | None:
        """Return the committed config.pbtxt, None where the model was never released."""
        commit = self.read_commit(model_name)
        return commit.config if commit is not None else None

    def read_commit(self, model_name: str) -> Commit | None:
        """Return the committed config.pbtxt with its ETag and who wrote it, None where there is none.

        Raises `IntegrityError` where it is no UTF-8 text.
        """
        found = self.store.look_at(self._config_key(model_name))
        if found is None:
            return None
        text = self._decode(found, self._config_key(model_name))
        signed = _COMMIT.match(text)
        if signed is None:
            return Commit(text, found.etag, 0, None)
        return Commit(text[signed.end() :], found.etag, int(signed["epoch"]), signed["owner"])

    def commit(
        self, model_name: str, config: str | None, after: str | None, epoch: int = 0, owner: str = "nobody"
    ) -> None:
        """Write config.pbtxt, which decides what Triton serves; None removes it, and with it the model.

        Triton takes a file for unchanged when its modification time, in whole seconds, is the one it saw before
        (S3 knows no finer ones): a commit that follows another within the same second is written again in the next.

        Args:
            model_name: the model.
            config: the content, without who wrote it.
            after: ETag of the file that is replaced, None where there is none.
            epoch: of the model's lock, 0 where nobody holds it. Written into the file with the next as a comment, which
                Triton does not see, and with a token of its own: an ETag that is an MD5 never comes back.
            owner: who commits.

        Raises `ReleaseTakenOver` where another file, or none, is there by now: nothing is changed then.
        """
        key = self._config_key(model_name)
        if config is None:
            if after is not None and not self.store.delete_if(key, after):
                self._refuse(model_name, CONFIG_FILE)
            return
        signed = f"# slipway: epoch {epoch} of {owner}, {uuid4().hex[:12]}\n{config}".encode()
        before = self.store.modified(key)
        etag = self.store.replace(key, signed, after)
        while etag is not None and before is not None and self.store.modified(key) == before:
            time.sleep(0.1)
            etag = self.store.replace(key, signed, etag)
        if etag is None:
            self._refuse(model_name, CONFIG_FILE)

    def read_metadata(self, model_name: str, version: int) -> str | None:
        """Return a version's metadata.json, from the repository or the archive."""
        for prefix in (self._root, f"{self.archive_prefix}/"):
            if (content := self.store.read(f"{prefix}{model_name}/{version}/{METADATA_FILE}")) is not None:
                return content.decode(errors="replace")
        return None

    def claim(self, model_name: str, version: int, claimant: str) -> None:
        """Take a version number; taking it again is no error. `VersionConflict` where another release has it.

        Two claimants cannot both succeed, whatever else failed to keep them apart, and a number is never free again.
        """
        key = self.record_key(model_name, version, CLAIM_FILE)
        if self.store.create(key, claimant.encode()):
            return
        holder = self.store.read(key)
        if holder != claimant.encode():
            raise VersionConflict(
                f"model '{model_name}' version {version} in {self.store.address}: the number was taken by flow run "
                f"{holder.decode(errors='replace') if holder else 'unknown'}; release again, which takes the next "
                "number"
            )

    def is_claimed_by(self, model_name: str, version: int, claimant: str) -> bool:
        """Tell whether a version number was taken by this claimant."""
        return self.store.read(self.record_key(model_name, version, CLAIM_FILE)) == claimant.encode()

    def stage(self, model_name: str, version: int, directory: Path, files: tuple[FileDigest, ...]) -> int:
        """Upload a version's files to staging, in order; return the bytes that had to be sent.

        A file that is there already, to the last byte, is not sent again. Raises `IntegrityError` where the store
        holds something else than was sent.
        """
        staging = f"{self.staging_prefix}/{model_name}/{version}/"
        missing = [f for f in files if not self.store.holds(staging + f.name, directory / f.name, f)]
        for file in missing:
            self.store.upload(directory / file.name, staging + file.name, file)
        return sum(file.size_bytes for file in missing)

    def place(self, model_name: str, version: int) -> None:
        """Put a version that is complete in staging or in the archive where Triton reads; there already, do nothing."""
        final = self.directory(model_name, version)
        if (source := self._find_complete(model_name, version)) != final:
            self._copy(source, final)
        for key in self.store.keys(archived := f"{self.archive_prefix}/{model_name}/{version}/"):
            if self._is_same(key, f"{final}{key[len(archived) :]}"):
                self.store.delete(key)

    def share(self, model_name: str, version: int) -> None:
        """Put what a placed version brings for its model as a whole beside config.pbtxt; nothing else there goes."""
        shared = f"{self.directory(model_name, version)}{SHARED}"
        if self.store.keys(shared):
            self._copy(shared, f"{self._root}{model_name}/")

    def place_candidate(self, model_name: str, version: int, name: str, config: str) -> None:
        """Put a copy of a complete version where Triton reads, under a candidate's name, with its own config."""
        candidate = f"{self._root}{name}/"
        source = self._find_complete(model_name, version)
        self._copy(source, f"{candidate}{version}/")
        self._copy(f"{source}{SHARED}", candidate)
        self.store.write(f"{candidate}{CONFIG_FILE}", config.encode())

    def remove_candidate(self, name: str) -> None:
        """Delete a candidate's copy."""
        if parse_candidate(name) is None:
            raise ValueError(f"{name!r}: is no candidate's name")
        self.store.delete_below(f"{self._root}{name}/")

    def clear_staging(self, model_name: str) -> None:
        """Delete what uploads of a model left in staging."""
        self.store.delete_below(f"{self.staging_prefix}/{model_name}/")

    def remove(self, model_name: str, version: int) -> None:
        """Delete a version that was never released, and what was recorded of it but for who took its number."""
        self.store.delete_below(self.directory(model_name, version))
        claim = self.record_key(model_name, version, CLAIM_FILE)
        recorded = self.store.keys(f"{self.records_prefix}/{model_name}/{version}/")
        self.store.delete_all([key for key in recorded if key != claim])

    def archive(self, model_name: str, version: int) -> None:
        """Move a version out of Triton's sight; begun before and broken off, it is completed.

        Only what is proven to be in the archive is deleted, key by key. An adopted version whose metadata.json is in
        its record gets it now that its folder may change.
        """
        recorded = self.read_record(model_name, version, METADATA_FILE)
        if recorded is not None and self.read_metadata(model_name, version) is None:
            self.store.write(f"{self.directory(model_name, version)}{METADATA_FILE}", recorded)
        self._move(self.directory(model_name, version), f"{self.archive_prefix}/{model_name}/{version}/")

    def archive_beside(self, model_name: str) -> None:
        """Move what lies beside a model's versions out of Triton's sight; only what is proven to be there is deleted.

        That is for a model without versions where Triton reads, and without a committed config.pbtxt.
        """
        self._move(f"{self._root}{model_name}/", f"{self.archive_prefix}/{model_name}/{BESIDE}")

    def unarchive(self, model_name: str, version: int) -> None:
        """Move an archived version back where Triton reads; begun before and broken off, it is completed."""
        self._move(f"{self.archive_prefix}/{model_name}/{version}/", self.directory(model_name, version))

    def discard_archived(self, model_name: str, version: int) -> None:
        """Delete an archived version's files for good; its record stays, so that its number is never used again."""
        self.store.delete_below(f"{self.archive_prefix}/{model_name}/{version}/")

    def read_record(self, model_name: str, version: int, name: str) -> bytes | None:
        """Return one file of a version's record, None where there is none."""
        return self.store.read(self.record_key(model_name, version, name))

    def write_record(self, model_name: str, version: int, name: str, content: bytes) -> None:
        """Write one file of a version's record."""
        self.store.write(self.record_key(model_name, version, name), content)

    def read_model_record(self, model_name: str, name: str) -> bytes | None:
        """Return one file that is recorded of a model as a whole, None where there is none."""
        return self.store.read(f"{self.records_prefix}/{model_name}/{name}")

    def write_model_record(self, model_name: str, name: str, content: bytes) -> None:
        """Write one file that is recorded of a model as a whole."""
        self.store.write(f"{self.records_prefix}/{model_name}/{name}", content)

    def read_journal(self, model_name: str) -> StoredObject | None:
        """Return the journal of a model's last release, None where there was none."""
        return self.store.look_at(self._journal_key(model_name))

    def write_journal(self, model_name: str, entry: str, after: str | None) -> None:
        """Write a journal in the place of the one with this ETag (None: of none).

        Raises `ReleaseTakenOver` where another is there by now: nothing is changed then.
        """
        if self.store.replace(self._journal_key(model_name), entry.encode(), after) is None:
            self._refuse(model_name, "the journal")

    def read_lock(self, model_name: str) -> StoredObject | None:
        """Return the lock of a model, None where nobody ever took it."""
        return self.store.look_at(self._lock_key(model_name))

    def write_lock(self, model_name: str, entry: str, after: str | None) -> str | None:
        """Write a lock in the place of the one with this ETag (None: of none); None where another is there by now."""
        return self.store.replace(self._lock_key(model_name), entry.encode(), after)

    def read_settings(self, model_name: str) -> StoredObject | None:
        """Return the serving settings of a model, None where nobody ever set any."""
        return self.store.look_at(self._settings_key(model_name))

    def write_settings(self, model_name: str, entry: str, after: str | None) -> bool:
        """Write settings in the place of those with this ETag (None: of none); tell whether they were still there."""
        return self.store.replace(self._settings_key(model_name), entry.encode(), after) is not None

    def _refuse(self, model_name: str, what: str) -> NoReturn:
        raise ReleaseTakenOver(
            f"model '{model_name}' in {self.store.address}: {what} was changed by somebody else since this run read "
            "it; nothing was overwritten: see `make status`, then release again"
        )

    def _decode(self, found: StoredObject, key: str) -> str:
        try:
            return found.content.decode()
        except UnicodeDecodeError as error:
            raise IntegrityError(f"{self.store.address}, key {key}: is no UTF-8 text ({error}); mend it") from error

    def _find_complete(self, model_name: str, version: int) -> str:
        """Return where a version is complete, which is where it has its metadata.json, written last."""
        prefixes = (self._root, f"{self.staging_prefix}/", f"{self.archive_prefix}/")
        places = [f"{prefix}{model_name}/{version}/" for prefix in prefixes]
        for place in places:
            if self.store.read(f"{place}{METADATA_FILE}") is not None:
                return place
        # an adopted version lies as it was found, its metadata.json with its record
        if self.store.keys(places[0]) and self.read_record(model_name, version, METADATA_FILE) is not None:
            return places[0]
        raise IntegrityError(
            f"model '{model_name}' version {version} in {self.store.address}: complete neither in the repository nor "
            "in staging nor in the archive; release it again from the registry"
        )

    def _copy(self, source: str, target: str) -> list[str]:
        """Copy a version inside the store and prove each copy, metadata.json last; return the source's keys."""
        keys = sorted(self.store.keys(source), key=lambda key: key.endswith(f"/{METADATA_FILE}"))
        for key in keys:
            copied = f"{target}{key[len(source) :]}"
            if self._is_same(key, copied):
                continue  # begun before and broken off; written anew, Triton would take it for changed
            self.store.copy(key, copied)
            if not self._is_same(key, copied):
                raise IntegrityError(f"{self.store.address}, key {copied}: is not {key}, its source; try again")
        return keys

    def _move(self, source: str, target: str) -> None:
        """Copy a version and delete what was proven to be copied, metadata.json last."""
        for key in self._copy(source, target):
            self.store.delete(key)

    def _is_same(self, key: str, other: str) -> bool:
        """Tell whether two objects exist and have one content."""
        one, two = self.store.fingerprint(key), self.store.fingerprint(other)
        if one is None or two is None:
            return False
        return one == two or (_read_size(one) == _read_size(two) and self.store.sha256(key) == self.store.sha256(other))

    def _list_numbers(self, prefix: str) -> tuple[int, ...]:
        return tuple(sorted(int(name) for name in self.store.names_of_keys(prefix) if name.isdecimal()))

    def _version_key(self, model_name: str, version: int) -> str:
        return f"{self._root}{model_name}/{version}"

    def _config_key(self, model_name: str) -> str:
        return f"{self._root}{model_name}/{CONFIG_FILE}"

    def record_key(self, model_name: str, version: int, name: str) -> str:
        """The key of one file of a version's record."""
        return f"{self.records_prefix}/{model_name}/{version}/{name}"

    def _lock_key(self, model_name: str) -> str:
        return f"{self.locks_prefix}/{model_name}.json"

    def _settings_key(self, model_name: str) -> str:
        return f"{self.settings_prefix}/{model_name}.json"

    def _journal_key(self, model_name: str) -> str:
        return f"{self.journal_prefix}/{model_name}.json"


def _read_size(fingerprint: str) -> str:
    return fingerprint.partition(":")[0]
