"""The bucket, on both kinds of store: the embedded one, and one with AWS' checksums (moto)."""

import os
from collections.abc import Iterator
from pathlib import Path

import pytest
from moto.server import ThreadedMotoServer
from prefect_aws.client_parameters import AwsClientParameters
from prefect_aws.credentials import AwsCredentials
from prefect_aws.s3 import S3Bucket
from pydantic import SecretStr

from blocks.errors import IntegrityError, ServiceUnavailable
from blocks.object_store import PART_BYTES, FileDigest, ObjectStore
from blocks.wiring import Blocks
from tests.faults import silent_server
from tests.ports import free_port


@pytest.fixture(scope="module")
def moto_store() -> Iterator[ObjectStore]:
    server = ThreadedMotoServer(port=0, verbose=False)
    server.start()
    host, port = server.get_host_and_port()
    store = ObjectStore(bucket_at(f"http://{host}:{port}"))
    store.client.create_bucket(Bucket=store.bucket)
    yield store
    server.stop()


@pytest.fixture(params=["embedded", "moto"])
def store(request: pytest.FixtureRequest) -> ObjectStore:
    if request.param == "moto":
        found: ObjectStore = request.getfixturevalue("moto_store")
        return found
    blocks: Blocks = request.getfixturevalue("blocks")
    return blocks.repository.store


def bucket_at(url: str) -> S3Bucket:
    credentials = AwsCredentials(
        aws_access_key_id="slipway",
        aws_secret_access_key=SecretStr("slipway"),
        region_name="us-east-1",
        aws_client_parameters=AwsClientParameters(
            endpoint_url=url, config={"connect_timeout": 1, "read_timeout": 1, "retries": {"max_attempts": 2}}
        ),
    )
    return S3Bucket(bucket_name="test-bucket", credentials=credentials)


def file_of(path: Path, size_bytes: int) -> tuple[Path, FileDigest]:
    path.write_bytes(os.urandom(size_bytes))
    return path, FileDigest.of(path)


@pytest.mark.parametrize("size_bytes", [0, 1000, PART_BYTES + 1])
def test_an_uploaded_file_is_proven_also_in_parts_and_after_a_copy(
    store: ObjectStore, tmp_path: Path, size_bytes: int
) -> None:
    path, digest = file_of(tmp_path / "model.onnx", size_bytes)

    store.upload(path, "proof/staged", digest)
    store.copy("proof/staged", "proof/final")

    store.prove("proof/final", path, digest)
    assert store.keys("proof/") == {"proof/staged": size_bytes, "proof/final": size_bytes}
    store.delete("proof/")
    assert store.keys("proof/") == {}


def test_an_object_that_was_changed_is_not_taken_for_the_file(store: ObjectStore, tmp_path: Path) -> None:
    path, digest = file_of(tmp_path / "model.onnx", 1000)
    store.upload(path, "changed/model.onnx", digest)
    changed = bytes([path.read_bytes()[0] ^ 1]) + path.read_bytes()[1:]

    store.write("changed/model.onnx", changed)

    assert not store.holds("changed/model.onnx", path, digest)
    with pytest.raises(IntegrityError, match=r"changed/model.onnx: holds .* expected .*try again"):
        store.prove("changed/model.onnx", path, digest)
    store.delete("changed/")


def test_an_object_that_is_not_there_is_told_apart_from_an_error(store: ObjectStore, tmp_path: Path) -> None:
    path, digest = file_of(tmp_path / "model.onnx", 10)

    assert store.read("nowhere/key") is None
    assert not store.holds("nowhere/key", path, digest)
    assert store.prefixes("nowhere/") == []


def test_names_below_a_prefix_are_listed_without_what_is_below_them(store: ObjectStore) -> None:
    for key in ("listed/a/1/x", "listed/a/2/x", "listed/b/1/x", "listed/file"):
        store.write(key, b"x")

    assert store.prefixes("listed/") == ["a", "b"]
    store.delete("listed/")


def test_more_keys_than_a_page_holds_are_all_listed_and_deleted(moto_store: ObjectStore) -> None:
    for number in range(1005):
        moto_store.write(f"many/{number}/x", b"")

    assert len(moto_store.prefixes("many/")) == 1005
    moto_store.delete("many/")
    assert moto_store.keys("many/") == {}


def test_a_store_that_is_down_is_an_error_that_names_its_address() -> None:
    url = f"http://127.0.0.1:{free_port()}"

    with pytest.raises(ServiceUnavailable, match=f"S3 bucket 'test-bucket' at {url}"):
        ObjectStore(bucket_at(url)).read("key")


def test_a_store_that_does_not_answer_is_given_up_after_bounded_time() -> None:
    with silent_server() as url, pytest.raises(ServiceUnavailable, match=f"at {url}: no usable answer for key"):
        ObjectStore(bucket_at(url)).read("key")
