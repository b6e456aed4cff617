"""The laptop's S3 server gets its buckets while it starts, each time it starts."""

from collections.abc import Iterator
from typing import TYPE_CHECKING

import boto3
import pytest
from moto import mock_aws

from infra.docker.make_buckets import make

if TYPE_CHECKING:
    from mypy_boto3_s3 import S3Client


@pytest.fixture
def client(monkeypatch: pytest.MonkeyPatch) -> Iterator["S3Client"]:
    for name in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY"):
        monkeypatch.setenv(name, "testing")
    monkeypatch.delenv("AWS_ENDPOINT_URL", raising=False)
    with mock_aws():
        yield boto3.client("s3", region_name="us-east-1")


def test_makes_a_bucket_and_the_object_that_keeps_a_prefix(client: "S3Client") -> None:
    make(client, "mlflow")
    make(client, "triton-models", "repository/.keep")

    assert [bucket["Name"] for bucket in client.list_buckets()["Buckets"]] == ["mlflow", "triton-models"]
    assert [found["Key"] for found in client.list_objects_v2(Bucket="triton-models")["Contents"]] == [
        "repository/.keep"
    ]


def test_changes_nothing_that_is_there(client: "S3Client") -> None:
    make(client, "triton-models", "repository/.keep")
    client.put_object(Bucket="triton-models", Key="repository/.keep", Body=b"theirs")

    make(client, "triton-models", "repository/.keep")

    assert client.get_object(Bucket="triton-models", Key="repository/.keep")["Body"].read() == b"theirs"
