"""The objects of one S3 bucket, one by one: read whole, written under conditions, deleted.

Every call is bounded (5 s to connect, 60 s between bytes, 4 attempts); what remains unanswered raises
`ServiceUnavailable` naming the address, what is refused `AccessRefused`.
"""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import datetime
from email.utils import parsedate_to_datetime
from typing import TYPE_CHECKING, NamedTuple, TypeVar

from boto3.exceptions import Boto3Error
from botocore.exceptions import BotoCoreError, ClientError
from prefect_aws.s3 import S3Bucket

from blocks.errors import InvalidInput
from blocks.meanings import Answer
from blocks.s3_client import RECEIVING, compute_sha256, list_folders, make_client
from blocks.store_errors import choose_error, explain_silence, read_answer

if TYPE_CHECKING:
    from botocore.response import StreamingBody
    from mypy_boto3_s3 import S3Client
    from mypy_boto3_s3.type_defs import HeadObjectOutputTypeDef, PutObjectOutputTypeDef

T = TypeVar("T")

_DELETED_AT_ONCE = 200  # and at most four folders of each, a thousand in all


class StoredObject(NamedTuple):
    """A small object as it was read."""

    content: bytes
    etag: str
    measure_age: Callable[[], float]  # whole seconds since it was written, by the store's own clock


class BucketObjects:
    """A bucket reached through a Prefect `S3Bucket` block.

    Args:
        bucket: the bucket and its credentials.
        fence: called right before each request that changes something; what it raises keeps the change from being made.
    """

    def __init__(self, bucket: S3Bucket, fence: Callable[[], None] | None = None) -> None:
        self._block = bucket
        self._fence = fence
        self.bucket = bucket.bucket_name

    @property
    def client(self) -> "S3Client":
        """A boto3 client with the block's credentials and our bounds on time."""
        return make_client(self._block.credentials)

    @property
    def address(self) -> str:
        """The bucket and the endpoint it is reached at, for messages."""
        return f"S3 bucket '{self.bucket}' at {self.client.meta.endpoint_url}"

    def uri(self, key: str) -> str:
        """Return the S3 URI of a key."""
        return f"s3://{self.bucket}/{key}"

    def exists(self, key: str) -> bool:
        """Tell whether there is an object under a key."""
        return self._ask_head(key) is not None

    def get_modified(self, key: str) -> datetime | None:
        """Return when an object was last written, in whole seconds, None where there is no such key."""
        head = self._ask_head(key)
        return head["LastModified"].replace(microsecond=0) if head else None

    def get_fingerprint(self, key: str) -> str | None:
        """Return what one HEAD tells of an object's content, None where there is no such key.

        As long as the fingerprint is the same, so is the content; it tells nothing else.
        """
        head = self._ask_head(key)
        return f"{head['ContentLength']}:{head.get('ChecksumSHA256') or head['ETag']}" if head else None

    def get_sha256(self, key: str) -> str:
        """Return the SHA-256 of an object as it is stored, read back in chunks."""
        with self._reaching(key):
            return self._receive(key, compute_sha256)

    def read(self, key: str) -> bytes | None:
        """Return a small object's content, None where there is no such key."""
        with self._reaching(key):
            try:
                return self._receive(key, lambda body: body.read())
            except ClientError as error:
                if read_answer(error) is Answer.ABSENT:
                    return None
                raise

    def look_at(self, key: str) -> StoredObject | None:
        """Return a small object with its ETag and what tells its age, None where there is no such key."""
        with self._reaching(key):
            try:
                answer = self.client.get_object(Bucket=self.bucket, Key=key)
                content = answer["Body"].read()
            except ClientError as error:
                if read_answer(error) is Answer.ABSENT:
                    return None
                raise
        now = parsedate_to_datetime(answer["ResponseMetadata"]["HTTPHeaders"]["date"])
        age_s = (now - answer["LastModified"]).total_seconds()
        return StoredObject(content, answer["ETag"], lambda: age_s)

    def write(self, key: str, content: bytes) -> None:
        """Write a small object, whole or not at all."""
        self._require_fence()
        with self._reaching(key):
            self.client.put_object(Bucket=self.bucket, Key=key, Body=content)

    def create(self, key: str, content: bytes) -> bool:
        """Write a small object where there is none yet; return False, and change nothing, where there is one."""
        return self.replace(key, content, None) is not None

    def replace(self, key: str, content: bytes, etag: str | None) -> str | None:
        """Write a small object in the place of the one with this ETag (None: of none); return the new ETag.

        Returns None, and changes nothing, where another object, or none, is there by now: of several at once exactly
        one is written, which a store without conditional writes does not keep (`check_conditions`). The content has
        to be the caller's own, since a repeated request is recognised by it.
        """
        self._require_fence()
        with self._reaching(key):
            try:
                return self._put_if(key, content, etag)["ETag"]
            except ClientError as error:
                said = read_answer(error)
                if said is not Answer.CHANGED and not (etag is not None and said is Answer.ABSENT):
                    raise
                # botocore repeats a request whose answer was lost; the first one may have done what this was to do
                repeated = error.response["ResponseMetadata"]["RetryAttempts"] > 0
        found = self.look_at(key) if repeated else None
        return found.etag if found is not None and found.content == content else None

    def delete_if(self, key: str, etag: str) -> bool:
        """Delete the object with this ETag; return False, and change nothing, where another is there by now."""
        self._require_fence()
        with self._reaching(key):
            try:
                self.client.delete_object(Bucket=self.bucket, Key=key, IfMatch=etag)
            except ClientError as error:
                if (said := read_answer(error)) is None:
                    raise
                return said is Answer.ABSENT
        return True

    def check_conditions(self, prefix: str) -> None:
        """Raise `InvalidInput` where the store does not honour conditional writes, tried on a key below `prefix`."""
        key = f"{prefix}conditional-writes"
        self.delete(key)
        etag = self.replace(key, b"first", None)
        again, stale = self.replace(key, b"second", None), self.replace(key, b"third", '"0"')
        found = self.read(key)
        self.delete(key)
        if etag is None or again is not None or stale is not None or found != b"first":
            raise InvalidInput(
                f"{self.address}: ignores the conditions If-None-Match and If-Match of a PUT, so that nothing could "
                "keep two releases from overwriting each other; use one that honours them: AWS S3, SeaweedFS from 4, "
                "MinIO from 2024-09, Ceph from 19 (rclone and older ones do not)"
            )

    def delete(self, key: str) -> None:
        """Delete one object; none there is no error."""
        self._delete([key])

    def delete_all(self, keys: list[str]) -> None:
        """Delete these keys, some hundred a request; `ServiceUnavailable` names the first that was not deleted."""
        for start in range(0, len(keys), _DELETED_AT_ONCE):
            self._delete(keys[start : start + _DELETED_AT_ONCE])

    def _delete(self, keys: list[str]) -> None:
        self._require_fence()
        batch = [{"Key": key} for key in [*keys, *list_folders(keys, self.client.meta.endpoint_url)]]
        with self._reaching(keys[0]):
            answer = self.client.delete_objects(Bucket=self.bucket, Delete={"Objects": batch, "Quiet": True})  # type: ignore[typeddict-item]
        if errors := answer.get("Errors"):
            first, code = errors[0], errors[0].get("Code", "")
            raise choose_error(code)(
                f"{self.address}: {len(errors)} of {len(keys)} keys were not deleted, the first {first.get('Key')} "
                f"({code} {first.get('Message', '')}); check the bucket's policy and retention, and try again",
                address=self.address,
            )

    def _put_if(self, key: str, content: bytes, etag: str | None) -> "PutObjectOutputTypeDef":
        if etag is None:
            return self.client.put_object(Bucket=self.bucket, Key=key, Body=content, IfNoneMatch="*")
        return self.client.put_object(Bucket=self.bucket, Key=key, Body=content, IfMatch=etag)

    def _require_fence(self) -> None:
        if self._fence is not None:
            self._fence()

    def _receive(self, key: str, take: "Callable[[StreamingBody], T]") -> T:
        return RECEIVING(lambda: take(self.client.get_object(Bucket=self.bucket, Key=key)["Body"]))

    def _ask_head(self, key: str) -> "HeadObjectOutputTypeDef | None":
        with self._reaching(key):
            try:
                return self.client.head_object(Bucket=self.bucket, Key=key, ChecksumMode="ENABLED")
            except ClientError as error:
                if read_answer(error) is Answer.ABSENT:
                    return None
                raise

    @contextmanager
    def _reaching(self, subject: str) -> Iterator[None]:
        try:
            yield
        except (BotoCoreError, ClientError, Boto3Error) as error:
            raise explain_silence(error, self.address, subject) from error
