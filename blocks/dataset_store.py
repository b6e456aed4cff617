"""Folders of images in S3, brought to this machine once: a private copy, named by the digest of what the store lists.

<into>/<bucket>/<digest>/train/<class>/<file>    whole, or not there at all
"""

import hashlib
import json
import os
import shutil
import tempfile
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path, PurePosixPath
from typing import NamedTuple

from prefect.settings import PREFECT_API_URL
from prefect_aws.client_parameters import AwsClientParameters
from prefect_aws.credentials import AwsCredentials
from prefect_aws.s3 import S3Bucket

from blocks.environment import load_block
from blocks.errors import IntegrityError, InvalidInput, SlipwayError
from blocks.object_store import ObjectStore
from blocks.run import say

_SPLITS = ("train", "val")
_AT_ONCE = 8
_ENDPOINTS = ("SLIPWAY_S3_ENDPOINT_URL", "AWS_ENDPOINT_URL_S3", "AWS_ENDPOINT_URL")


class _Image(NamedTuple):
    """An image as the store lists it."""

    key: str
    path: str  # below the folder
    size_bytes: int
    etag: str


def fetch_images(bucket: str, prefix: str, extensions: frozenset[str], into: Path) -> Path:
    """Bring the images of train/ and val/ below a prefix to this machine, and return the directory that has them.

    What was brought before is not brought again, as long as the store lists the same. Raises `InvalidInput` where there
    is none, `IntegrityError` where one was changed meanwhile.
    """
    store = _ImageStore(S3Bucket(bucket_name=bucket, credentials=find_credentials()))
    images = store.list_images(prefix, extensions)
    if not images:
        raise InvalidInput(
            f"dataset s3://{bucket}/{prefix}: {store.address} has no images below train/ and val/ there, expected "
            f"train/<class>/ and val/<class>/ with {', '.join(sorted(extensions))}"
        )
    listed = json.dumps([(image.path, image.size_bytes, image.etag) for image in images])
    final = into / bucket / hashlib.sha256(listed.encode()).hexdigest()[:32]
    if final.exists():
        return final
    final.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
    unfinished = Path(tempfile.mkdtemp(dir=final.parent, prefix=".new-"))  # only its owner may read it
    try:
        size_mib = sum(image.size_bytes for image in images) / 1024**2
        say(f"dataset s3://{bucket}/{prefix}: {len(images)} images, {size_mib:.0f} MiB, are brought to {final}")
        with ThreadPoolExecutor(_AT_ONCE) as pool:
            list(pool.map(lambda image: store.bring(image, unfinished), images))
        if not final.exists():  # a run beside this one may have been faster
            unfinished.rename(final)
    finally:
        shutil.rmtree(unfinished, ignore_errors=True)
    return final


def find_credentials() -> AwsCredentials:
    """Return slipway's own credentials where Prefect has them, else those that variables and boto3 know."""
    if PREFECT_API_URL.value():
        try:
            return load_block(AwsCredentials)
        except SlipwayError:
            pass  # nothing was set up there
    endpoint = next((os.environ[name] for name in _ENDPOINTS if os.environ.get(name)), None)
    parameters = AwsClientParameters(
        endpoint_url=endpoint, config={"s3": {"addressing_style": "path"}} if endpoint else {}
    )
    region = os.environ.get("AWS_REGION") or os.environ.get("AWS_DEFAULT_REGION") or "us-east-1"
    return AwsCredentials(region_name=region, aws_client_parameters=parameters)


class _ImageStore(ObjectStore):
    def list_images(self, prefix: str, extensions: frozenset[str]) -> list[_Image]:
        """Return the images of both splits, sorted by path."""
        root = f"{prefix}/" if prefix else ""
        found = []
        for split in _SPLITS:
            with self._reaching(f"{root}{split}/"):
                pages = self.client.get_paginator("list_objects_v2").paginate(
                    Bucket=self.bucket, Prefix=f"{root}{split}/"
                )
                listed = [entry for page in pages for entry in page.get("Contents", [])]
            for entry in listed:
                path = entry["Key"][len(root) :]
                if PurePosixPath(path).suffix.lower() in extensions:
                    found.append(_Image(entry["Key"], _check_path(path), entry["Size"], entry["ETag"]))
        return sorted(found)

    def bring(self, image: _Image, into: Path) -> None:
        """Stream an image below a directory; `IntegrityError` where it is not what was listed."""
        target = into / image.path
        target.parent.mkdir(parents=True, exist_ok=True)
        with self._reaching(image.key):
            self.client.download_file(self.bucket, image.key, str(target))
        if (size := target.stat().st_size) != image.size_bytes:
            raise IntegrityError(
                f"{self.address}, key {image.key}: has {size} bytes, listed were {image.size_bytes}; it was changed "
                "meanwhile: train again"
            )


def _check_path(path: str) -> str:
    """Return a key's path; `InvalidInput` where it would leave the directory it is put into."""
    if any(part in {"", ".", ".."} for part in path.split("/")) or "\\" in path or "\0" in path:
        raise InvalidInput(f"dataset: key {path!r} is no path of a file; rename or remove it")
    return path
