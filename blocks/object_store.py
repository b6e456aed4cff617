"""One S3 bucket as slipway needs it: listed by pages, written in parallel parts, every object's content proven."""

from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from boto3.exceptions import Boto3Error
from botocore.exceptions import BotoCoreError, ClientError

from blocks.bucket_objects import BucketObjects
from blocks.checksums import PART_BYTES, WHOLE_SHA256, Checksum, FileDigest, LocalChecksums, read_stated_checksums
from blocks.errors import IntegrityError
from blocks.originals import find_original
from blocks.s3_client import COPY, TRANSFER

_TOO_LARGE = {"InvalidRequest", "EntityTooLarge"}  # for one CopyObject; AWS says the first of more than 5 GB


class ObjectStore(BucketObjects):
    """A bucket with its listings, and with files moved in and out, each proven."""

    read_in_place = False  # Triton copies what it loads: what goes away below it is missed by no replica

    def list_prefixes(self, prefix: str) -> list[str]:
        """Return the names directly below `prefix` that have keys below them, listed with a delimiter.

        A store over a file system (SeaweedFS) names one for minutes after its last key went, where others than this
        class deleted that: `list_names` does not, and lists every key.
        """
        with self._reaching(prefix):
            pages = self.client.get_paginator("list_objects_v2").paginate(
                Bucket=self.bucket, Prefix=prefix, Delimiter="/"
            )
            return [p["Prefix"][len(prefix) : -1] for page in pages for p in page.get("CommonPrefixes", [])]

    def list_names(self, prefix: str) -> list[str]:
        """Return the names directly below `prefix` that have keys below them, by the keys themselves."""
        below = (key[len(prefix) :].split("/", 1) for key in self.list_keys(prefix))
        return list(dict.fromkeys(name for name, *rest in below if rest))

    def list_keys(self, prefix: str) -> dict[str, int]:
        """Return every key below `prefix` with its size in bytes."""
        with self._reaching(prefix):
            pages = self.client.get_paginator("list_objects_v2").paginate(Bucket=self.bucket, Prefix=prefix)
            return {o["Key"]: o["Size"] for page in pages for o in page.get("Contents", [])}

    def scan(self, prefix: str) -> Iterator[tuple[str, str | None]]:
        """Yield every key below `prefix`, without it, with its fingerprint; a page of a thousand a call.

        Where a store states the checksum of what it holds, its HEAD tells another one: then that has to be asked.
        """
        with self._reaching(prefix):
            for page in self.client.get_paginator("list_objects_v2").paginate(Bucket=self.bucket, Prefix=prefix):
                for o in page.get("Contents", []):
                    yield o["Key"][len(prefix) :], f"{o['Size']}:{o['ETag']}"

    def download(self, key: str, into: Path) -> None:
        """Stream an object into a file."""
        with self._reaching(key):
            self.client.download_file(self.bucket, key, str(into))

    def upload(self, path: Path, key: str, digest: FileDigest) -> None:
        """Upload a file in parallel parts and prove that the store holds what the digest says.

        Raises `IntegrityError` where it does not, or where the file itself is not what the digest says.
        """
        local = LocalChecksums(path)
        self._require_fence()
        with self._reaching(key), ThreadPoolExecutor(2) as beside:
            # hashing lets go of the GIL, so that what the proof will need is there when the transfer ends
            hashed = [beside.submit(local.of, kind) for kind in {WHOLE_SHA256, self._guess_stated(digest)}]
            extra = {"ChecksumAlgorithm": "SHA256", "Metadata": {"sha256": digest.sha256}}
            self.client.upload_file(str(path), self.bucket, key, ExtraArgs=extra, Config=TRANSFER)
        for future in hashed:
            future.result()
        if local.of(WHOLE_SHA256) != digest.sha256:
            raise IntegrityError(
                f"{path}: has SHA-256 {local.of(WHOLE_SHA256)}, expected {digest.sha256}; "
                "the file was damaged on this machine: try again"
            )
        self._prove(key, local, digest)

    def copy(self, source: str, target: str) -> None:
        """Copy an object inside the bucket, on the server's side: in one request, or in parts where it is too large."""
        self._require_fence()
        with self._reaching(source):
            try:
                self.client.copy_object(
                    Bucket=self.bucket, Key=target, CopySource={"Bucket": self.bucket, "Key": source}
                )
            except ClientError as error:
                if error.response["Error"]["Code"] not in _TOO_LARGE:
                    raise
                self.client.copy({"Bucket": self.bucket, "Key": source}, self.bucket, target, Config=COPY)

    def copy_original(self, uri: str | None, path: Path, key: str, digest: FileDigest) -> bool:
        """Copy a file from where MLflow keeps it, on the server's side, and prove the copy as an upload is.

        Returns False where that cannot be: no such object below this S3 URI, or none that these credentials may read,
        or another one than the file. It has to be uploaded then.
        """
        local = LocalChecksums(path)
        self._require_fence()
        try:
            if (original := find_original(self.client, uri, digest)) is None:
                return False
            with ThreadPoolExecutor(1) as beside:
                hashed = [beside.submit(local.of, kind) for kind in original.checksums]
                extra = {"CopySourceIfMatch": original.etag, "ChecksumAlgorithm": "SHA256"}
                self.client.copy(original.source, self.bucket, key, ExtraArgs=extra, Config=COPY)
            for future in hashed:
                future.result()
        except (BotoCoreError, ClientError, Boto3Error):
            return False
        observed, expected = self._compare(key, local, digest)
        return observed == expected

    def delete_below(self, prefix: str) -> None:
        """Delete every key below `prefix`, which ends with a slash."""
        if not prefix.endswith("/"):
            raise ValueError(f"prefix {prefix!r}: expected one that ends with '/', or its neighbours would go, too")
        self.delete_all(list(self.list_keys(prefix)))

    def holds(self, key: str, path: Path, digest: FileDigest) -> bool:
        """Tell whether the object under `key` exists and is the local file, by size and checksum."""
        observed, expected = self._compare(key, LocalChecksums(path), digest)
        return observed == expected

    def prove(self, key: str, path: Path, digest: FileDigest) -> None:
        """Raise `IntegrityError` unless the object under `key` is the local file, by size and checksum.

        The evidence is the strongest the store gives: its own SHA-256 (AWS S3), an ETag that is an MD5, else the
        object read back.
        """
        self._prove(key, LocalChecksums(path), digest)

    def _prove(self, key: str, local: "LocalChecksums", digest: FileDigest) -> None:
        observed, expected = self._compare(key, local, digest)
        if observed != expected:
            raise IntegrityError(
                f"{self.address}, key {key}: holds {observed}, expected {expected}; the transfer was damaged: try again"
            )

    def _compare(self, key: str, local: "LocalChecksums", digest: FileDigest) -> tuple[str, str]:
        head = self._ask_head(key)
        if head is None:
            return "nothing", f"{digest.size_bytes} bytes"
        if head["ContentLength"] != digest.size_bytes:
            return f"{head['ContentLength']} bytes", f"{digest.size_bytes} bytes"
        stated = read_stated_checksums(head, digest)
        if not stated:
            return self.get_sha256(key), digest.sha256
        known = [(told, digest.sha256 if kind == WHOLE_SHA256 else local.of(kind)) for kind, told in stated]
        return next((pair for pair in known if pair[0] == pair[1]), known[0])

    def _guess_stated(self, digest: FileDigest) -> "Checksum":
        if digest.size_bytes <= PART_BYTES:
            return WHOLE_SHA256
        return Checksum("sha256", in_parts=True)
