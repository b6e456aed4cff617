"""Two directories of this machine as a store: the model repository that Triton reads, and all else beside it.

What `ObjectStore` promises of a bucket holds here, too: an object is there whole or not at all, and of several that
write one under a condition exactly one does. The condition is looked at under a lock on the directory of records, which
every process on this machine, or of all that mount it (NFS from version 4), takes in turn.
"""

import fcntl
import hashlib
import os
import shutil
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from functools import lru_cache, partial
from pathlib import Path
from uuid import uuid4

from blocks.bucket_objects import StoredObject
from blocks.checksums import FileDigest
from blocks.errors import AccessRefused, IntegrityError, InvalidInput, ServiceUnavailable
from blocks.object_store import ObjectStore

_UNFINISHED = ".slipway-new-"  # a file, and so no model to Triton, which looks at a repository's folders alone
_LOCK = ".lock"
_CHUNK_BYTES = 1024**2


class DirectoryStore(ObjectStore):
    """The files below two directories, by keys as a bucket has them.

    Args:
        models: the model repository, which Triton reads.
        records: staging, archive, records, journal and locks; not below `models`, since Triton would take it for one.
        models_prefix: the first part of the keys that are below `models`.
        fence: called right before each change; what it raises keeps the change from being made.
    """

    read_in_place = True  # a replica may read the files of what it serves, as it answers

    def __init__(
        self, models: Path, records: Path, models_prefix: str, fence: Callable[[], None] | None = None
    ) -> None:
        self._models, self._records, self._models_prefix = models.absolute(), records.absolute(), models_prefix
        self._fence = fence
        self.bucket = str(self._models)
        if self._records == self._models or self._models in self._records.parents:
            raise InvalidInput(
                f"records at {records}: are inside of the model repository {models}, whose folders Triton takes for "
                "models; name a directory outside of it"
            )

    @property
    def address(self) -> str:
        """The model repository, for messages."""
        return f"directory {self._models}"

    def uri(self, key: str) -> str:
        """Return the path of a key."""
        return str(self._locate(key))

    def list_prefixes(self, prefix: str) -> list[str]:
        """Return the names of the folders directly below `prefix`."""
        with self._reaching(prefix):
            folder = self._locate(prefix)
            return sorted(entry.name for entry in folder.iterdir() if entry.is_dir()) if folder.is_dir() else []

    def list_keys(self, prefix: str) -> dict[str, int]:
        """Return every key below `prefix`, which ends with a slash, with its size in bytes."""
        with self._reaching(prefix):
            folder = self._locate(prefix)
            found = (path for path in folder.rglob("*") if not path.name.startswith(_UNFINISHED))
            return {f"{prefix}{path.relative_to(folder)}": path.stat().st_size for path in found if path.is_file()}

    def scan(self, prefix: str) -> Iterator[tuple[str, str | None]]:
        """Yield every key below `prefix`, without it; what tells its content, the file has to be read for."""
        for key in self.list_keys(prefix):
            yield key[len(prefix) :], None

    def exists(self, key: str) -> bool:
        """Tell whether there is a file under a key."""
        with self._reaching(key):
            return self._locate(key).is_file()

    def get_modified(self, key: str) -> datetime | None:
        """Return when a file was last written, in whole seconds, None where there is none."""
        with self._reaching(key):
            path = self._locate(key)
            return datetime.fromtimestamp(int(path.stat().st_mtime), UTC) if path.is_file() else None

    def get_fingerprint(self, key: str) -> str | None:
        """Return what tells a file's content, None where there is none."""
        with self._reaching(key):
            path = self._locate(key)
            return f"{path.stat().st_size}:{_digest(path)}" if path.is_file() else None

    def get_sha256(self, key: str) -> str:
        """Return the SHA-256 of a file."""
        with self._reaching(key):
            return _digest(self._locate(key))

    def read(self, key: str) -> bytes | None:
        """Return a small file's content, None where there is none."""
        with self._reaching(key):
            return _read(self._locate(key))

    def look_at(self, key: str) -> StoredObject | None:
        """Return a small file with its ETag, None where there is none; its age is measured by the file system's clock.

        That takes writing a file, which only those may who change something here: others never ask for an age.
        """
        with self._reaching(key):
            path = self._locate(key)
            try:
                with path.open("rb") as file:
                    content, written = file.read(), os.fstat(file.fileno()).st_mtime
            except (FileNotFoundError, IsADirectoryError):
                return None
            return StoredObject(content, _make_etag(content), partial(self._measure_age, key, written))

    def write(self, key: str, content: bytes) -> None:
        """Write a small file, whole or not at all."""
        self._require_fence()
        with self._reaching(key):
            self._put(key, lambda path: path.write_bytes(content))

    def replace(self, key: str, content: bytes, etag: str | None) -> str | None:
        """Write a small file in the place of the one with this ETag (None: of none); return the new ETag.

        Returns None, and changes nothing, where another file, or none, is there by now.
        """
        self._require_fence()
        with self._reaching(key), self._locked():
            found = _read(self._locate(key))
            if (None if found is None else _make_etag(found)) != etag:
                return None
            self._put(key, lambda path: path.write_bytes(content))
            return _make_etag(content)

    def delete_if(self, key: str, etag: str) -> bool:
        """Delete the file with this ETag; return False, and change nothing, where another is there by now."""
        self._require_fence()
        with self._reaching(key), self._locked():
            found = _read(self._locate(key))
            if found is not None and _make_etag(found) != etag:
                return False
            self._remove(key)
            return True

    def upload(self, path: Path, key: str, digest: FileDigest) -> None:
        """Copy a file into the store; `IntegrityError` where it is not, then, what the digest says."""
        self._require_fence()
        with self._reaching(key):
            self._put(key, lambda target: shutil.copyfile(path, target))
        if (observed := _digest(path)) != digest.sha256:
            raise IntegrityError(
                f"{path}: has SHA-256 {observed}, expected {digest.sha256}; the file was damaged on this machine: try "
                "again"
            )
        self._prove(key, digest)

    def copy_original(self, uri: str | None, path: Path, key: str, digest: FileDigest) -> bool:  # noqa: ARG002
        """Copy nothing: MLflow keeps no version in a directory that this one could be told from."""
        return False

    def download(self, key: str, into: Path) -> None:
        """Copy a file of the store to another place."""
        with self._reaching(key):
            shutil.copyfile(self._locate(key), into)

    def copy(self, source: str, target: str) -> None:
        """Copy a file inside the store."""
        self._require_fence()
        with self._reaching(source):
            origin = self._locate(source)
            self._put(target, lambda path: shutil.copyfile(origin, path))

    def delete_all(self, keys: list[str]) -> None:
        """Delete these files, and the folders that are empty then."""
        for key in keys:
            self._require_fence()
            with self._reaching(key):
                self._remove(key)

    def delete(self, key: str) -> None:
        """Delete one file; none there is no error."""
        self.delete_all([key])

    def holds(self, key: str, path: Path, digest: FileDigest) -> bool:  # noqa: ARG002, a bucket may need the file
        """Tell whether the file under `key` exists and is what the digest says."""
        return self.get_fingerprint(key) == f"{digest.size_bytes}:{digest.sha256}"

    def prove(self, key: str, path: Path, digest: FileDigest) -> None:  # noqa: ARG002, a bucket may need the file
        """Raise `IntegrityError` unless the file under `key` is what the digest says."""
        self._prove(key, digest)

    def _prove(self, key: str, digest: FileDigest) -> None:  # type: ignore[override]  # no file to compare with
        observed, expected = self.get_fingerprint(key), f"{digest.size_bytes}:{digest.sha256}"
        if observed != expected:
            raise IntegrityError(f"{self._locate(key)}: holds {observed}, expected {expected}; try again")

    def _locate(self, key: str) -> Path:
        parts = key.split("/")
        if ".." in parts:
            raise ValueError(f"key {key!r}: leaves the store")
        if parts[0] == self._models_prefix:
            return self._models.joinpath(*parts[1:])
        return self._records.joinpath(*parts)

    def _put(self, key: str, write: Callable[[Path], object]) -> None:
        """Have a file written beside all models, then put it where it belongs, which no reader sees half done."""
        path = self._locate(key)
        root = self._models if self._models in path.parents else self._records
        root.mkdir(parents=True, exist_ok=True)
        unfinished = root / f"{_UNFINISHED}{uuid4().hex}"
        try:
            write(unfinished)
            with unfinished.open("rb") as file:
                os.fsync(file.fileno())
            _move(unfinished, path)
        finally:
            unfinished.unlink(missing_ok=True)

    def _remove(self, key: str) -> None:
        path = self._locate(key)
        path.unlink(missing_ok=True)
        for folder in path.parents:
            if folder in {self._models, self._records, *self._models.parents, *self._records.parents}:
                return
            try:
                folder.rmdir()
            except FileNotFoundError:
                continue
            except OSError:  # not empty
                return

    def _measure_age(self, key: str, written: float) -> float:
        with self._reaching(key):
            return float(int(self._ask_clock() - written))

    def _ask_clock(self) -> float:
        """Return the time as the file system has it, which is a server's own where it is mounted."""
        root = self._records if self._records.is_dir() else self._models  # where nothing was released to it yet
        asked = root / f"{_UNFINISHED}{uuid4().hex}"
        try:
            asked.touch()
            return asked.stat().st_mtime
        finally:
            asked.unlink(missing_ok=True)

    @contextmanager
    def _locked(self) -> Iterator[None]:
        self._records.mkdir(parents=True, exist_ok=True)
        with (self._records / _LOCK).open("a") as file:
            fcntl.flock(file, fcntl.LOCK_EX)
            yield

    @contextmanager
    def _reaching(self, subject: str) -> Iterator[None]:
        try:
            yield
        except PermissionError as error:
            raise AccessRefused(
                f"{self.address}: refused access to {subject} ({error}); check who owns it and this process's user",
                address=self.address,
            ) from error
        except OSError as error:
            raise ServiceUnavailable(
                f"{self.address}: no usable answer for {subject} ({error}); check the file system and its free space",
                address=self.address,
            ) from error


def _move(unfinished: Path, path: Path) -> None:
    """Put a finished file in its place; its folder may be removed, as empty, at the same moment by another process."""
    for attempt in range(5):
        path.parent.mkdir(parents=True, exist_ok=True)
        try:
            unfinished.replace(path)
        except FileNotFoundError:
            if attempt == 4:
                raise
        else:
            return


def _read(path: Path) -> bytes | None:
    try:
        return path.read_bytes()
    except (FileNotFoundError, IsADirectoryError, NotADirectoryError):
        return None


def _make_etag(content: bytes) -> str:
    return f'"{hashlib.sha256(content).hexdigest()}"'


def _digest(path: Path) -> str:
    stat = path.stat()
    return _digest_as_it_is(path, (stat.st_ino, stat.st_size, stat.st_mtime_ns, stat.st_ctime_ns))


@lru_cache(maxsize=1000)
def _digest_as_it_is(path: Path, state: tuple[int, ...]) -> str:  # noqa: ARG001
    digest = hashlib.sha256()
    with path.open("rb") as file:
        while chunk := file.read(_CHUNK_BYTES):
            digest.update(chunk)
    return digest.hexdigest()
