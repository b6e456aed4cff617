"""What identifies a file's content, computed here or stated by an S3 store."""

import base64
import hashlib
import re
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

from pydantic import BaseModel, ConfigDict, Field

if TYPE_CHECKING:
    from mypy_boto3_s3.type_defs import HeadObjectOutputTypeDef

PART_BYTES = 16 * 1024**2


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

    def of(self, path: Path) -> str:
        """Return a file's, in hexadecimal digits."""
        with path.open("rb") as file:
            if not self.in_parts:
                return hashlib.file_digest(file, self._new).hexdigest()
            parts = [self._new(part).digest() for part in iter(lambda: file.read(PART_BYTES), b"")]
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


def read_stated_checksum(head: "HeadObjectOutputTypeDef", digest: FileDigest) -> tuple[Checksum, str | None]:
    """Return which checksum of its content a store states, and the checksum, None where it states none."""
    if checksum := head.get("ChecksumSHA256"):
        # of the whole object, or, where it came in parts, of the parts' checksums and with their number behind
        stated = base64.b64decode(checksum.partition("-")[0]).hex()
        in_parts = stated != digest.sha256 and digest.size_bytes > PART_BYTES
        return Checksum("sha256", in_parts), stated
    etag = re.fullmatch('"?([0-9a-f]{32})(-[0-9]+)?"?', head["ETag"])
    return Checksum("md5", bool(etag and etag[2])), etag[1] if etag else None
