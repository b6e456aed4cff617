"""The boto3 client behind a bucket: how long it waits, how often it asks again, in which parts it moves a file."""

import hashlib
from datetime import datetime
from functools import cache
from typing import TYPE_CHECKING, Any

from boto3.s3.transfer import TransferConfig
from botocore.config import Config
from botocore.exceptions import IncompleteReadError, ReadTimeoutError, ResponseStreamingError
from botocore.utils import parse_timestamp
from tenacity import Retrying, retry_if_exception_type, stop_after_attempt, wait_random_exponential

from blocks.checksums import PART_BYTES

if TYPE_CHECKING:
    from botocore.response import StreamingBody
    from mypy_boto3_s3 import S3Client

TRANSFER = TransferConfig(multipart_threshold=PART_BYTES, multipart_chunksize=PART_BYTES, max_concurrency=8)
# CopyObject takes up to 5 GB in one request, and stores without UploadPartCopy know nothing else.
COPY = TransferConfig(multipart_threshold=5 * 1024**3, multipart_chunksize=512 * 1024**2, max_concurrency=8)
_BOUNDS = Config(connect_timeout=5, read_timeout=60, retries={"max_attempts": 4, "mode": "standard"})
# boto3 repeats requests, but not one whose answer's body breaks off: the connection does, or the object is overwritten.
RECEIVING = Retrying(
    retry=retry_if_exception_type((ResponseStreamingError, IncompleteReadError, ReadTimeoutError)),
    stop=stop_after_attempt(4),
    wait=wait_random_exponential(multiplier=0.1, max=2),
    reraise=True,
)


@cache
def make_client(credentials: Any) -> "S3Client":
    """Return a boto3 client with our bounds on time, the same one for the same credentials.

    Making one costs a tenth of a second and more, most of it to read AWS's own description of the service.
    """
    params = credentials.aws_client_parameters.get_params_override()
    params["config"] = _BOUNDS.merge(params.get("config", Config()))
    session = credentials.get_boto3_session()
    # boto3 has no way of its own to it
    parsers = session._session.get_component("response_parser_factory")
    parsers.set_parser_defaults(timestamp_parser=parse_moment)
    return session.client("s3", **params)  # type: ignore[no-any-return]


def parse_moment(written: Any) -> datetime:
    """Return the moment that a store wrote: in a listing as ISO 8601, which botocore's own parser takes for any text.

    Half of what a long listing costs went into that.
    """
    try:
        return datetime.fromisoformat(written)
    except (TypeError, ValueError):
        return parse_timestamp(written)  # a header's, or a number


def compute_sha256(body: "StreamingBody") -> str:
    """Return the SHA-256 of an answer's body, read in chunks."""
    digest = hashlib.sha256()
    for chunk in body.iter_chunks(1024**2):
        digest.update(chunk)
    return digest.hexdigest()


def list_folders(keys: list[str], endpoint_url: str) -> list[str]:
    """Return the folders, the deepest first, that a store over a file system may be left with (SeaweedFS).

    It lists them as if they had keys. Deleting one that still has some, or that is none (AWS), changes nothing.
    """
    if ".amazonaws.com" in endpoint_url:
        return []
    parts = [key.split("/")[:-1] for key in keys]
    folders = {"/".join(names[:depth]) + "/" for names in parts for depth in range(2, len(names) + 1)}
    return sorted(folders, key=lambda folder: folder.count("/"), reverse=True)
