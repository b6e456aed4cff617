#!/opt/venv/bin/python
"""The servers' image's `make-buckets`: waits until an S3 server answers, then makes what is missing.

make-buckets ENDPOINT BUCKET[/KEY]...    each bucket, and an empty object of that key in it
"""

import sys
import time
from typing import TYPE_CHECKING

import boto3
from botocore.config import Config
from botocore.exceptions import BotoCoreError, ClientError

if TYPE_CHECKING:
    from mypy_boto3_s3 import S3Client

DEADLINE_S = 120
PAUSE_S = 0.5


def main() -> None:
    """Make every bucket and object named, trying again while the server starts; status 1 after two minutes."""
    endpoint, *wanted = sys.argv[1:]
    client = boto3.client(
        "s3",
        endpoint_url=endpoint,
        region_name="us-east-1",
        config=Config(s3={"addressing_style": "path"}, retries={"max_attempts": 1}, connect_timeout=2, read_timeout=10),
    )
    end = time.monotonic() + DEADLINE_S
    while True:
        try:
            for name in wanted:
                make(client, *name.split("/", 1))
            return
        except (BotoCoreError, ClientError) as error:
            if time.monotonic() > end:
                sys.exit(f"S3 {endpoint}: no buckets within {DEADLINE_S} s ({error}); see the server's log")
            time.sleep(PAUSE_S)


def make(client: "S3Client", bucket: str, key: str | None = None) -> None:
    """Make one bucket, and one empty object in it, unless they are there."""
    if bucket not in {found["Name"] for found in client.list_buckets()["Buckets"]}:
        client.create_bucket(Bucket=bucket)
    if key and not client.list_objects_v2(Bucket=bucket, Prefix=key, MaxKeys=1).get("KeyCount"):
        client.put_object(Bucket=bucket, Key=key, Body=b"")


if __name__ == "__main__":
    main()
