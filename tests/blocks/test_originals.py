"""Originals: what MLflow keeps in a bucket of this store is copied there and proven; whatever cannot be is uploaded."""

import os
from collections.abc import Iterator
from pathlib import Path

import pytest
from boto3.s3.transfer import TransferConfig
from moto.server import ThreadedMotoServer

from blocks.checksums import PART_BYTES, FileDigest
from blocks.environment import Environment
from blocks.errors import ReleaseTakenOver
from blocks.object_store import ObjectStore
from blocks.originals import find_bucket_uri
from tests.apparatus.stores import bucket_at

SIZE = PART_BYTES + 1
MIB = 1024**2


@pytest.fixture(scope="module")
def moto_store() -> Iterator[ObjectStore]:
    server = ThreadedMotoServer(port=0, verbose=False)
    server.start()
    host, port = server.get_host_and_port()
    store = ObjectStore(bucket_at(f"http://{host}:{port}"))
    for bucket in (store.bucket, "mlflow"):
        store.client.create_bucket(Bucket=bucket)
    yield store
    server.stop()


@pytest.fixture(params=["embedded", "moto"])
def store(request: pytest.FixtureRequest) -> Iterator[ObjectStore]:
    if request.param == "moto":
        found: ObjectStore = request.getfixturevalue("moto_store")
    else:
        environment: Environment = request.getfixturevalue("environment")
        found = environment.repository.store
    yield found
    found.delete_below("originals/")
    for key in (o["Key"] for o in found.client.list_objects_v2(Bucket="mlflow", Prefix="originals/")["Contents"]):
        found.client.delete_object(Bucket="mlflow", Key=key)


@pytest.fixture
def file(tmp_path: Path) -> tuple[Path, FileDigest]:
    path = tmp_path / "model.onnx"
    path.write_bytes(os.urandom(SIZE))
    return path, FileDigest.of(path)


def keep(store: ObjectStore, path: Path, key: str = "originals/m-1/artifacts/model.onnx", part_mib: int = 8) -> None:
    """Put a file where MLflow would, in its parts."""
    parts = TransferConfig(multipart_threshold=part_mib * MIB, multipart_chunksize=part_mib * MIB)
    store.client.upload_file(str(path), "mlflow", key, Config=parts)


@pytest.mark.parametrize("part_mib", [8, 10, 64])
def test_a_file_is_copied_and_proven_in_whatever_parts_mlflow_sent_it(
    store: ObjectStore, file: tuple[Path, FileDigest], part_mib: int
) -> None:
    path, digest = file
    keep(store, path, part_mib=part_mib)

    assert store.copy_original("s3://mlflow/originals/m-1/artifacts", path, "originals/model.onnx", digest)

    store.prove("originals/model.onnx", path, digest)
    assert store.get_sha256("originals/model.onnx") == digest.sha256


def test_of_files_of_one_size_the_one_of_that_name_is_copied(
    store: ObjectStore, file: tuple[Path, FileDigest], tmp_path: Path
) -> None:
    path, digest = file
    keep(store, path)
    other = tmp_path / "other.onnx"
    other.write_bytes(os.urandom(SIZE))
    keep(store, other, "originals/m-1/artifacts/other.onnx")

    assert store.copy_original("s3://mlflow/originals/m-1/artifacts", path, "originals/model.onnx", digest)
    assert store.get_sha256("originals/model.onnx") == digest.sha256


def test_an_object_that_is_not_the_file_is_not_taken_for_it(store: ObjectStore, file: tuple[Path, FileDigest]) -> None:
    path, _ = file
    keep(store, path)
    path.write_bytes(os.urandom(SIZE))
    digest = FileDigest.of(path)

    assert not store.copy_original("s3://mlflow/originals/m-1/artifacts", path, "originals/model.onnx", digest)


@pytest.mark.parametrize(
    "uri",
    [
        None,
        "mlflow-artifacts:/originals/m-1/artifacts",
        "s3://mlflow/originals/m-2/artifacts",
        "s3://mlflow/originals/m-1/artifact",
        "s3://nobody-s-bucket/originals/m-1/artifacts",
    ],
)
def test_where_mlflow_keeps_it_elsewhere_it_is_left_to_be_uploaded(
    store: ObjectStore, file: tuple[Path, FileDigest], uri: str | None
) -> None:
    path, digest = file
    keep(store, path)

    assert not store.copy_original(uri, path, "originals/model.onnx", digest)
    assert store.list_keys("originals/") == {}


def test_who_lost_the_lock_copies_nothing(moto_store: ObjectStore, file: tuple[Path, FileDigest]) -> None:
    path, digest = file
    keep(moto_store, path, "fenced/model.onnx")

    def refuse() -> None:
        raise ReleaseTakenOver("no longer")

    fenced = ObjectStore(bucket_at(moto_store.client.meta.endpoint_url), refuse)
    with pytest.raises(ReleaseTakenOver):
        fenced.copy_original("s3://mlflow/fenced", path, "originals/model.onnx", digest)
    assert moto_store.list_keys("originals/") == {}


@pytest.mark.parametrize(
    ("stored", "destination", "expected"),
    [
        ("s3://bucket/1/models/m-1/artifacts", None, "s3://bucket/1/models/m-1/artifacts"),
        ("mlflow-artifacts:/1/models/m-1/artifacts", "s3://mlflow/root/", "s3://mlflow/root/1/models/m-1/artifacts"),
        ("mlflow-artifacts://host:5000/1/m-1", "s3://mlflow", "s3://mlflow/1/m-1"),
        ("mlflow-artifacts:/1/models/m-1/artifacts", None, None),
        ("mlflow-artifacts:/1/models/m-1/artifacts", "file:///mlartifacts", None),
        ("file:///mlruns/1/models/m-1/artifacts", "s3://mlflow", None),
    ],
)
def test_a_version_is_where_mlflow_or_the_settings_say(
    stored: str, destination: str | None, expected: str | None
) -> None:
    assert find_bucket_uri(stored, destination) == expected
