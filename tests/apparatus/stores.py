"""A model repository in this process's memory, on a store with AWS' conditional writes (moto)."""

import logging
from collections.abc import Iterator
from contextlib import contextmanager

from moto.server import ThreadedMotoServer
from prefect_aws.client_parameters import AwsClientParameters
from prefect_aws.credentials import AwsCredentials
from prefect_aws.s3 import S3Bucket
from pydantic import SecretStr

from blocks.repository import ModelRepository


def bucket_at(url: str, read_timeout_s: float = 30) -> S3Bucket:
    """Return a bucket of the store at an address."""
    credentials = AwsCredentials(
        aws_access_key_id="slipway",
        aws_secret_access_key=SecretStr("slipway"),
        region_name="us-east-1",
        aws_client_parameters=AwsClientParameters(
            endpoint_url=url,
            config={"connect_timeout": 1, "read_timeout": read_timeout_s, "retries": {"max_attempts": 2}},
        ),
    )
    return S3Bucket(bucket_name="test-bucket", credentials=credentials)


@contextmanager
def repository_in_memory() -> Iterator[ModelRepository]:
    """Yield a repository with nothing in it."""
    server = ThreadedMotoServer(port=0, verbose=False)
    logging.getLogger("werkzeug").setLevel(logging.WARNING)  # a line for each request
    server.start()
    try:
        host, port = server.get_host_and_port()
        repository = ModelRepository(bucket=bucket_at(f"http://{host}:{port}"))
        repository.store.client.create_bucket(Bucket=repository.store.bucket)
        yield repository
    finally:
        server.stop()
