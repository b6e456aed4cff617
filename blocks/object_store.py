"""One S3 bucket as slipway needs it: listed by pages, written in parallel parts, every object's content proven."""

import hashlib
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from datetime import datetime
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

from boto3.exceptions import Boto3Error
from boto3.s3.transfer import TransferConfig
from botocore.config import Config
from botocore.exceptions import (
    BotoCoreError,
    ClientError,
    IncompleteReadError,
    ReadTimeoutError,
    ResponseStreamingError,
)
from prefect_aws.s3 import S3Bucket
from tenacity import Retrying, retry_if_exception_type, stop_after_attempt, wait_random_exponential

from blocks.checksums import PART_BYTES, WHOLE_SHA256, Checksum, FileDigest, LocalChecksums, stated_checksum
from blocks.errors import IntegrityError, ServiceUnavailable

if TYPE_CHECKING:
    from botocore.response import StreamingBody
    from mypy_boto3_s3 import S3Client
    from mypy_boto3_s3.type_defs import HeadObjectOutputTypeDef

T = TypeVar("T")

_NO_SUCH_KEY = {"NoSuchKey", "404"}
_KEY_IS_TAKEN = {"PreconditionFailed", "ConditionalRequestConflict", "412", "409"}
_TRANSFER = TransferConfig(multipart_threshold=PART_BYTES, multipart_chunksize=PART_BYTES, max_concurrency=8)
# CopyObject takes up to 5 GB in one request, and stores without UploadPartCopy know nothing else.
_COPY = TransferConfig(multipart_threshold=5 * 1024**3, multipart_chunksize=512 * 1024**2, max_concurrency=8)
_BOUNDS = Config(connect_timeout=5, read_timeout=60, retries={"max_attempts": 4, "mode": "standard"})
# boto3 repeats requests, but not one whose answer's body breaks off: the connection does, or the object is overwritten.
_RECEIVING = Retrying(
    retry=retry_if_exception_type((ResponseStreamingError, IncompleteReadError, ReadTimeoutError)),
    stop=stop_after_attempt(4),
    wait=wait_random_exponential(multiplier=0.1, max=2),
    reraise=True,
)


@cache
def _client(credentials: Any) -> "S3Client":
    # Making one costs a tenth of a second and more, most of it to read AWS's own description of the service.
    params = credentials.aws_client_parameters.get_params_override()
    params["config"] = _BOUNDS.merge(params.get("config", Config()))
    return credentials.get_boto3_session().client("s3", **params)  # type: ignore[no-any-return]


class ObjectStore:
    """A bucket reached through a Prefect `S3Bucket` block.

    Every call is bounded (5 s to connect, 60 s between bytes, 4 attempts); what remains unanswered raises
    `ServiceUnavailable` naming the address.
    """

    def __init__(self, bucket: S3Bucket) -> None:
        self._block = bucket
        self.bucket = bucket.bucket_name

    @property
    def client(self) -> "S3Client":
        """A boto3 client with the block's credentials and our bounds on time."""
        return _client(self._block.credentials)

    @property
    def address(self) -> str:
        """The bucket and the endpoint it is reached at, for messages."""
        return f"S3 bucket '{self.bucket}' at {self.client.meta.endpoint_url}"

    def prefixes(self, prefix: str) -> list[str]:
        """Return the names directly below `prefix` that have keys below them.

        By the keys themselves: listed with a delimiter, SeaweedFS names a prefix for minutes after its last key went.
        """
        below = (key[len(prefix) :].split("/", 1) for key in self.keys(prefix))
        return list(dict.fromkeys(name for name, *rest in below if rest))

    def keys(self, prefix: str) -> dict[str, int]:
        """Return every key below `prefix` with its size in bytes."""
        with self._reaching(prefix):
            pages = self.client.get_paginator("list_objects_v2").paginate(Bucket=self.bucket, Prefix=prefix)
            return {o["Key"]: o["Size"] for page in pages for o in page.get("Contents", [])}

    def exists(self, key: str) -> bool:
        """Tell whether there is an object under a key."""
        return self._head(key) is not None

    def modified(self, key: str) -> datetime | None:
        """Return when an object was last written, in whole seconds, None where there is no such key."""
        head = self._head(key)
        return head["LastModified"].replace(microsecond=0) if head else None

    def fingerprint(self, key: str) -> str | None:
        """Return what one HEAD tells of an object's content, None where there is no such key.

        As long as the fingerprint is the same, so is the content; it tells nothing else.
        """
        head = self._head(key)
        return f"{head['ContentLength']}:{head.get('ChecksumSHA256') or head['ETag']}" if head else None

    def sha256(self, key: str) -> str:
        """Return the SHA-256 of an object as it is stored, read back in chunks."""
        with self._reaching(key):
            return self._received(key, _sha256)

    def read(self, key: str) -> bytes | None:
        """Return a small object's content, None where there is no such key."""
        with self._reaching(key):
            try:
                return self._received(key, lambda body: body.read())
            except ClientError as error:
                if error.response["Error"]["Code"] in _NO_SUCH_KEY:
                    return None
                raise

    def write(self, key: str, content: bytes) -> None:
        """Write a small object, whole or not at all."""
        with self._reaching(key):
            self.client.put_object(Bucket=self.bucket, Key=key, Body=content)

    def create(self, key: str, content: bytes) -> bool:
        """Write a small object where there is none yet; return False, and change nothing, where there is one.

        Of several at once exactly one gets True where the store decides a conditional PUT (AWS S3). Others (rclone)
        ignore the condition: there only what is written before the look at the key is seen, so never make this the
        only guard. The content has to be the caller's own, since a repeated request is recognised by it.
        """
        if self.exists(key):
            return False
        with self._reaching(key):
            try:
                self.client.put_object(Bucket=self.bucket, Key=key, Body=content, IfNoneMatch="*")
            except ClientError as error:
                if error.response["Error"]["Code"] not in _KEY_IS_TAKEN:
                    raise
                # botocore repeats a request whose answer was lost; the first one may have taken the key
                repeated = error.response["ResponseMetadata"]["RetryAttempts"] > 0
                return repeated and self.read(key) == content
        return True

    def upload(self, path: Path, key: str, digest: FileDigest) -> None:
        """Upload a file in parallel parts and prove that the store holds what the digest says.

        Raises `IntegrityError` where it does not, or where the file itself is not what the digest says.
        """
        local = LocalChecksums(path)
        with self._reaching(key), ThreadPoolExecutor(2) as beside:
            # hashing lets go of the GIL, so that what the proof will need is there when the transfer ends
            hashed = [beside.submit(local.of, kind) for kind in {WHOLE_SHA256, self._likely_stated(digest)}]
            extra = {"ChecksumAlgorithm": "SHA256", "Metadata": {"sha256": digest.sha256}}
            self.client.upload_file(str(path), self.bucket, key, ExtraArgs=extra, Config=_TRANSFER)
        for future in hashed:
            future.result()
        if local.of(WHOLE_SHA256) != digest.sha256:
            raise IntegrityError(
                f"{path}: has SHA-256 {local.of(WHOLE_SHA256)}, expected {digest.sha256}; "
                "the file was damaged on this machine: try again"
            )
        self._prove(key, local, digest)

    def copy(self, source: str, target: str) -> None:
        """Copy an object inside the bucket, on the server's side."""
        with self._reaching(source):
            self.client.copy({"Bucket": self.bucket, "Key": source}, self.bucket, target, Config=_COPY)

    def delete(self, prefix: str) -> None:
        """Delete every key below `prefix`, a thousand a request."""
        keys = list(self.keys(prefix))
        with self._reaching(prefix):
            for start in range(0, len(keys), 1000):
                batch = [{"Key": key} for key in keys[start : start + 1000]]
                self.client.delete_objects(Bucket=self.bucket, Delete={"Objects": batch, "Quiet": True})  # type: ignore[typeddict-item]

    def holds(self, key: str, path: Path, digest: FileDigest) -> bool:
        """Tell whether the object under `key` exists and is the local file, by size and checksum."""
        observed, expected = self._compared(key, LocalChecksums(path), digest)
        return observed == expected

    def prove(self, key: str, path: Path, digest: FileDigest) -> None:
        """Raise `IntegrityError` unless the object under `key` is the local file, by size and checksum.

        The evidence is the strongest the store gives: its own SHA-256 (AWS S3), an ETag that is an MD5, else the
        object read back.
        """
        self._prove(key, LocalChecksums(path), digest)

    def _prove(self, key: str, local: "LocalChecksums", digest: FileDigest) -> None:
        observed, expected = self._compared(key, local, digest)
        if observed != expected:
            raise IntegrityError(
                f"{self.address}, key {key}: holds {observed}, expected {expected}; the transfer was damaged: try again"
            )

    def _compared(self, key: str, local: "LocalChecksums", digest: FileDigest) -> tuple[str, str]:
        head = self._head(key)
        if head is None:
            return "nothing", f"{digest.size_bytes} bytes"
        if head["ContentLength"] != digest.size_bytes:
            return f"{head['ContentLength']} bytes", f"{digest.size_bytes} bytes"
        kind, stated = stated_checksum(head, digest)
        if stated is None:
            return self.sha256(key), digest.sha256
        return stated, digest.sha256 if kind == WHOLE_SHA256 else local.of(kind)

    def _likely_stated(self, digest: FileDigest) -> "Checksum":
        if digest.size_bytes <= PART_BYTES:
            return WHOLE_SHA256
        on_aws = ".amazonaws.com" in self.client.meta.endpoint_url
        return Checksum("sha256", in_parts=True) if on_aws else Checksum("md5", in_parts=False)

    def _received(self, key: str, take: "Callable[[StreamingBody], T]") -> T:
        return _RECEIVING(lambda: take(self.client.get_object(Bucket=self.bucket, Key=key)["Body"]))

    def _head(self, key: str) -> "HeadObjectOutputTypeDef | None":
        with self._reaching(key):
            try:
                return self.client.head_object(Bucket=self.bucket, Key=key, ChecksumMode="ENABLED")
            except ClientError as error:
                if error.response["Error"]["Code"] in _NO_SUCH_KEY:
                    return None
                raise

    @contextmanager
    def _reaching(self, subject: str) -> Iterator[None]:
        try:
            yield
        except (BotoCoreError, ClientError, Boto3Error) as error:
            raise ServiceUnavailable(
                f"{self.address}: no usable answer for {subject} ({str(error)[:300]}); "
                "check the store, its credentials and the bucket, and try again"
            ) from error


def _sha256(body: "StreamingBody") -> str:
    digest = hashlib.sha256()
    for chunk in body.iter_chunks(1024**2):
        digest.update(chunk)
    return digest.hexdigest()
