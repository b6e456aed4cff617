"""What identifies a file's content, computed here or stated by an S3 store."""

import base64
import hashlib
import math
import re
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

from pydantic import BaseModel, ConfigDict, Field

if TYPE_CHECKING:
    from mypy_boto3_s3.type_defs import HeadObjectOutputTypeDef

_MIB = 1024**2
PART_BYTES = 16 * _MIB
# ours, boto3's and MLflow's server's, MLflow's own, and what others set
_USUAL_PARTS = tuple(size * _MIB for size in (16, 8, 10, 5, 32, 64, 100, 128))


class FileDigest(BaseModel):
    """What identifies a file's content: its name, or its path below a version's directory, its size and SHA-256."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    name: str
    size_bytes: int = Field(ge=0)
    sha256: str = Field(pattern="^[0-9a-f]{64}$")

    @classmethod
    def of(cls, path: Path, name: str | None = None) -> "FileDigest":
        """Digest a file by streaming it; its name may be a path below some directory."""
        with path.open("rb") as file:
            return cls(
                name=name or path.name,
                size_bytes=path.stat().st_size,
                sha256=hashlib.file_digest(file, "sha256").hexdigest(),
            )


class Checksum(NamedTuple):
    """A kind of checksum: of a whole file, or of its parts' checksums."""

    algorithm: str
    in_parts: bool
    part_bytes: int = PART_BYTES

    def of(self, path: Path) -> str:
        """Return a file's, in hexadecimal digits."""
        with path.open("rb") as file:
            if not self.in_parts:
                return hashlib.file_digest(file, self._new).hexdigest()
            parts = [self._new(part).digest() for part in iter(lambda: file.read(self.part_bytes), b"")]
        return str(self._new(b"".join(parts)).hexdigest())

    def _new(self, content: bytes = b"") -> Any:
        return hashlib.new(self.algorithm, content, usedforsecurity=False)


WHOLE_SHA256 = Checksum("sha256", in_parts=False)


class LocalChecksums:
    """The checksums of a local file, each computed once."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._known: dict[Checksum, str] = {}

    def of(self, kind: Checksum) -> str:
        """Return the file's checksum of one kind."""
        if kind not in self._known:
            self._known[kind] = kind.of(self._path)
        return self._known[kind]


def read_stated_checksums(head: "HeadObjectOutputTypeDef", digest: FileDigest) -> tuple[tuple[Checksum, str], ...]:
    """Return the checksum that a store states of an object with each kind that it may be; none where it states none.

    Of one that came in parts no store says how large they were: each usual size that fits their number is a kind.
    """
    if checksum := head.get("ChecksumSHA256"):
        algorithm, (stated, _, parts) = "sha256", checksum.partition("-")
        stated = base64.b64decode(stated).hex()
    elif etag := re.fullmatch('"?([0-9a-f]{32})(?:-([0-9]+))?"?', head["ETag"]):
        algorithm, stated, parts = "md5", etag[1], etag[2] or ""
    else:
        return ()
    if not parts:
        # a store may leave their number out
        in_parts = algorithm == "sha256" and stated != digest.sha256 and digest.size_bytes > PART_BYTES
        return ((Checksum(algorithm, in_parts), stated),)
    fitting = [size for size in _USUAL_PARTS if math.ceil(digest.size_bytes / size) == int(parts)]
    return tuple((Checksum(algorithm, in_parts=True, part_bytes=size), stated) for size in fitting)
