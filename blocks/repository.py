"""The model repository in S3, or in a directory: what Triton reads, and the pointer that commits.

`blocks/repository_layout.py` shows where each thing lies. A version's files go from staging to where Triton reads, and
from there to the archive; what is deleted was proven to be elsewhere.
"""

import re
import time
from collections.abc import Iterator
from pathlib import Path
from uuid import uuid4

from pydantic import HttpUrl

from blocks.bucket_objects import StoredObject
from blocks.checksums import FileDigest
from blocks.errors import IntegrityError
from blocks.labels import CLAIM_FILE, CONFIG_FILE, METADATA_FILE
from blocks.repository_layout import (
    BESIDE,
    RECORDS_FOLDER,
    SHARED,
    Commit,
    RepositoryContents,
    StoredVersions,
    parse_candidate,
)
from blocks.repository_listing import Listing, read_listing
from blocks.repository_records import RepositoryRecords
from blocks.store_folders import copy_folder, is_same, move_folder

_COMMIT = re.compile(r"^# slipway: epoch (?P<epoch>[0-9]+) of (?P<owner>\S+), [0-9a-f]+\n")


class ModelRepository(RepositoryRecords):
    """Triton's model repository, with staging, archive and journal beside it."""

    _block_type_name = "Triton Model Repository"
    _block_type_slug = "triton-model-repository"
    _documentation_url = HttpUrl(
        "https://docs.nvidia.com/deeplearning/triton-inference-server/user-guide/docs/user_guide/model_repository.html"
    )

    def list_contents(self) -> RepositoryContents:
        """Return which models there are, by where they have left anything."""
        names = [name for name in self.store.list_prefixes(self._root) if name != RECORDS_FOLDER]
        journals = self.store.list_keys(f"{self.journal_prefix}/")
        candidates: dict[str, frozenset[str]] = {}
        for name in names:
            if (model := parse_candidate(name)) is not None:
                candidates[model] = candidates.get(model, frozenset()) | {name}
        return RepositoryContents(
            served=frozenset(name for name in names if parse_candidate(name) is None),
            recorded=frozenset(self.store.list_prefixes(f"{self.records_prefix}/")),
            candidates=candidates,
            staged=frozenset(self.store.list_names(f"{self.staging_prefix}/")),
            journals=frozenset(key.removeprefix(f"{self.journal_prefix}/").removesuffix(".json") for key in journals),
        )

    def list_all(self, model_names: tuple[str, ...] | None = None) -> Listing:
        """Return what lies where Triton reads and in the archive: of the named models, of all where none are named."""
        archive = f"{self.archive_prefix}/"
        if model_names is None:
            ours = f"{RECORDS_FOLDER}/"
            stored = (found for found in self.store.scan(self._root) if not found[0].startswith(ours))
            return read_listing(stored, self.store.scan(archive))
        return read_listing(self._scan(self._root, model_names), self._scan(archive, model_names))

    def _scan(self, root: str, model_names: tuple[str, ...]) -> Iterator[tuple[str, str | None]]:
        for name in model_names:
            for path, fingerprint in self.store.scan(f"{root}{name}/"):
                yield f"{name}/{path}", fingerprint

    def list_versions(self, model_name: str) -> StoredVersions:
        """Return the version numbers in the repository and in the archive."""
        return StoredVersions(repository=self.list_stored(model_name), archive=self.list_archived(model_name))

    def list_stored(self, model_name: str) -> tuple[int, ...]:
        """Return the version numbers where Triton reads."""
        return self._list_numbers(f"{self._root}{model_name}/")

    def list_archived(self, model_name: str) -> tuple[int, ...]:
        """Return the version numbers in the archive."""
        return self._list_numbers(f"{self.archive_prefix}/{model_name}/")

    def is_foreign(self, model_name: str) -> bool:
        """Tell whether something lies under a model's name where Triton reads, and slipway has no record of it."""
        return not self.list_recorded(model_name) and bool(self.store.list_keys(f"{self._root}{model_name}/"))

    def list_strange(self, model_name: str) -> tuple[str, ...]:
        """Return the folders of a model whose names Triton takes for version numbers, though they are none: `3.old`."""
        names = self.store.list_names(f"{self._root}{model_name}/")
        return tuple(name for name in names if re.match(r"[+-]?[0-9]", name) and not name.isdecimal())

    def list_files(self, model_name: str, version: int) -> tuple[str, ...]:
        """Return the files of a version where Triton reads, by their paths below its folder."""
        directory = self.directory(model_name, version)
        return tuple(key.removeprefix(directory) for key in self.store.list_keys(directory) if not key.endswith("/"))

    def read_beside(self, model_name: str, name: str) -> bytes | None:
        """Return one file that lies beside a model's versions where Triton reads, None where there is none."""
        return self.store.read(f"{self._root}{model_name}/{name}")

    def find_next_version(self, model_name: str, stored: StoredVersions | None = None) -> int:
        """Return the number of the next version: one more than any that was ever taken, gaps are not filled.

        `stored` is what lies where, if it was listed already.
        """
        stored = stored or self.list_versions(model_name)
        return max((*stored.repository, *stored.archive, *self.list_recorded(model_name)), default=0) + 1

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
        before = self.store.get_modified(key)
        etag = self.store.replace(key, signed, after)
        while etag is not None and before is not None and self.store.get_modified(key) == before:
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

    def stage(
        self,
        model_name: str,
        version: int,
        directory: Path,
        files: tuple[FileDigest, ...],
        kept_at: str | None = None,
    ) -> int:
        """Put a version's files into staging, in order; return the bytes that had to be sent.

        A file that is there already, to the last byte, is not sent again, nor is one that this store can copy from
        `kept_at`, the S3 URI where MLflow keeps the version. Raises `IntegrityError` where the store holds something
        else than was sent.
        """
        staging, sent = f"{self.staging_prefix}/{model_name}/{version}/", 0
        for file in files:
            path, key = directory / file.name, staging + file.name
            if self.store.holds(key, path, file) or self.store.copy_original(kept_at, path, key, file):
                continue
            self.store.upload(path, key, file)
            sent += file.size_bytes
        return sent

    def place(self, model_name: str, version: int) -> None:
        """Put a version that is complete in staging or in the archive where Triton reads; there already, do nothing."""
        final = self.directory(model_name, version)
        if (source := self._find_complete(model_name, version)) != final:
            copy_folder(self.store, source, final)
        for key in self.store.list_keys(archived := f"{self.archive_prefix}/{model_name}/{version}/"):
            if is_same(self.store, key, f"{final}{key[len(archived) :]}"):
                self.store.delete(key)

    def share(self, model_name: str, version: int, leave: tuple[str, ...] = ()) -> None:
        """Put what a placed version brings for its model as a whole beside config.pbtxt; nothing else there goes.

        Triton reloads every version when a file there is newer; `leave` names those that nobody needs that for.
        """
        shared = f"{self.directory(model_name, version)}{SHARED}"
        if self.store.list_keys(shared):
            copy_folder(self.store, shared, f"{self._root}{model_name}/", leave)

    def place_candidate(self, model_name: str, version: int, name: str, config: str) -> None:
        """Put a copy of a complete version where Triton reads, under a candidate's name, with its own config."""
        candidate = f"{self._root}{name}/"
        source = self._find_complete(model_name, version)
        copy_folder(self.store, source, f"{candidate}{version}/")
        copy_folder(self.store, f"{source}{SHARED}", candidate)
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
        recorded = self.store.list_keys(f"{self.records_prefix}/{model_name}/{version}/")
        self.store.delete_all([key for key in recorded if key != claim])

    def archive(self, model_name: str, version: int) -> None:
        """Move a version out of Triton's sight; begun before and broken off, it is completed.

        Only what is proven to be in the archive is deleted, key by key. An adopted version whose metadata.json is in
        its record gets it now that its folder may change.
        """
        recorded = self.read_record(model_name, version, METADATA_FILE)
        if recorded is not None and self.read_metadata(model_name, version) is None:
            self.store.write(f"{self.directory(model_name, version)}{METADATA_FILE}", recorded)
        move_folder(self.store, self.directory(model_name, version), f"{self.archive_prefix}/{model_name}/{version}/")

    def archive_beside(self, model_name: str) -> None:
        """Move what lies beside a model's versions out of Triton's sight; only what is proven to be there is deleted.

        That is for a model without versions where Triton reads, and without a committed config.pbtxt.
        """
        move_folder(self.store, f"{self._root}{model_name}/", f"{self.archive_prefix}/{model_name}/{BESIDE}")

    def unarchive(self, model_name: str, version: int) -> None:
        """Move an archived version back where Triton reads; begun before and broken off, it is completed."""
        move_folder(self.store, f"{self.archive_prefix}/{model_name}/{version}/", self.directory(model_name, version))

    def discard_archived(self, model_name: str, version: int) -> None:
        """Delete an archived version's files for good; its record stays, so that its number is never used again."""
        self.store.delete_below(f"{self.archive_prefix}/{model_name}/{version}/")

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
        if self.store.list_keys(places[0]) and self.read_record(model_name, version, METADATA_FILE) is not None:
            return places[0]
        raise IntegrityError(
            f"model '{model_name}' version {version} in {self.store.address}: complete neither in the repository nor "
            "in staging nor in the archive; release it again from the registry"
        )
