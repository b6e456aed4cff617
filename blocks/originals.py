"""Originals: the files of a registered version where MLflow keeps them, in a bucket that this store can copy from."""

from typing import TYPE_CHECKING, NamedTuple
from urllib.parse import urlsplit

from blocks.checksums import PART_BYTES, Checksum, FileDigest, read_stated_checksums

if TYPE_CHECKING:
    from mypy_boto3_s3 import S3Client
    from mypy_boto3_s3.type_defs import CopySourceTypeDef

WORTH_COPYING = PART_BYTES  # smaller files are uploaded as fast as others are asked for


class Original(NamedTuple):
    """An object that has the size of a file at hand, and is thought to be that."""

    source: "CopySourceTypeDef"
    etag: str
    checksums: tuple[Checksum, ...]  # of the kinds that the store may state of a copy


def find_bucket_uri(stored: str, artifacts_destination: str | None) -> str | None:
    """Return the S3 URI of what MLflow keeps, None where it is in no bucket, or nobody says in which.

    Args:
        stored: where it is, as MLflow says: s3://…, or mlflow-artifacts:/… where its server hands it on itself.
        artifacts_destination: where that server puts it.
    """
    place = urlsplit(stored)
    if place.scheme == "mlflow-artifacts" and artifacts_destination:
        stored = f"{artifacts_destination.rstrip('/')}/{place.path.strip('/')}"
    return stored if stored.startswith("s3://") else None


def find_original(client: "S3Client", uri: str | None, digest: FileDigest) -> Original | None:
    """Return the one object below an S3 URI that may be a file; None for small files, which are as fast uploaded.

    Args:
        client: with the credentials of the store that is copied to. Raises what it raises.
        uri: where MLflow keeps a version, None where it does not say, or not in a bucket.
        digest: of the file.
    """
    place = urlsplit(uri or "")
    if place.scheme != "s3" or digest.size_bytes < WORTH_COPYING:
        return None
    pages = client.get_paginator("list_objects_v2").paginate(Bucket=place.netloc, Prefix=f"{place.path.strip('/')}/")
    fitting = [o["Key"] for page in pages for o in page.get("Contents", []) if o["Size"] == digest.size_bytes]
    if len(fitting) > 1:
        fitting = [key for key in fitting if key.rpartition("/")[2] == digest.name.rpartition("/")[2]]
    if len(fitting) != 1:
        return None
    head = client.head_object(Bucket=place.netloc, Key=fitting[0], ChecksumMode="ENABLED")
    kinds = tuple(kind for kind, _ in read_stated_checksums(head, digest))
    return Original({"Bucket": place.netloc, "Key": fitting[0]}, head["ETag"], kinds)
