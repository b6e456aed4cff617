"""The store, on each kind: the embedded one, one with AWS' checksums (moto), and a directory."""

import hashlib
import os
import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC
from pathlib import Path
from typing import Any

import pytest
from moto.s3.responses import S3Response
from moto.server import ThreadedMotoServer

from blocks.checksums import PART_BYTES, FileDigest
from blocks.directory_store import DirectoryStore
from blocks.environment import Environment
from blocks.errors import IntegrityError, ServiceUnavailable
from blocks.object_store import ObjectStore
from infra.local.settings import LocalStack
from tests.apparatus.faults import Fault, faulty_proxy, silent_server, through_s3_proxy
from tests.apparatus.ports import free_port
from tests.apparatus.stores import bucket_at
from tests.apparatus.thinning import keep


@pytest.fixture(scope="module")
def moto_store() -> Iterator[ObjectStore]:
    server = ThreadedMotoServer(port=0, verbose=False)
    server.start()
    host, port = server.get_host_and_port()
    store = ObjectStore(bucket_at(f"http://{host}:{port}"))
    store.client.create_bucket(Bucket=store.bucket)
    yield store
    server.stop()


@pytest.fixture(params=["embedded", "moto", "directory"])
def store(request: pytest.FixtureRequest, tmp_path: Path) -> ObjectStore:
    if request.param == "directory":
        return DirectoryStore(tmp_path / "models", tmp_path / "records", "repository")
    if request.param == "moto":
        found: ObjectStore = request.getfixturevalue("moto_store")
        return found
    environment: Environment = request.getfixturevalue("environment")
    return environment.repository.store


def file_of(path: Path, size_bytes: int) -> tuple[Path, FileDigest]:
    path.write_bytes(os.urandom(size_bytes))
    return path, FileDigest.of(path)


@pytest.fixture
def puts_one_by_one(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let moto decide a conditional PUT as AWS does: it looks and writes in two steps, which must not interleave."""
    lock, put_object = threading.Lock(), S3Response.put_object

    def alone(response: S3Response) -> Any:
        with lock:
            return put_object(response)

    monkeypatch.setattr(S3Response, "put_object", alone)


@pytest.mark.parametrize("size_bytes", [0, 1000, PART_BYTES + 1])
def test_an_uploaded_file_is_proven_also_in_parts_and_after_a_copy(
    store: ObjectStore, tmp_path: Path, size_bytes: int
) -> None:
    path, digest = file_of(tmp_path / "model.onnx", size_bytes)

    store.upload(path, "proof/staged", digest)
    store.copy("proof/staged", "proof/final")

    store.prove("proof/final", path, digest)
    assert store.list_keys("proof/") == {"proof/staged": size_bytes, "proof/final": size_bytes}
    store.delete_below("proof/")
    assert store.list_keys("proof/") == {}


def test_an_object_that_was_changed_is_not_taken_for_the_file(store: ObjectStore, tmp_path: Path) -> None:
    path, digest = file_of(tmp_path / "model.onnx", 1000)
    store.upload(path, "changed/model.onnx", digest)
    changed = bytes([path.read_bytes()[0] ^ 1]) + path.read_bytes()[1:]

    store.write("changed/model.onnx", changed)

    assert not store.holds("changed/model.onnx", path, digest)
    with pytest.raises(IntegrityError, match=r"changed/model.onnx: holds .* expected .*try again"):
        store.prove("changed/model.onnx", path, digest)
    store.delete_below("changed/")


def test_a_file_that_is_not_what_its_digest_says_is_not_uploaded_as_if_it_were(
    store: ObjectStore, tmp_path: Path
) -> None:
    path, digest = file_of(tmp_path / "model.onnx", 1000)
    file_of(path, 1000)

    with pytest.raises(IntegrityError, match=f"model.onnx: has SHA-256 .* expected {digest.sha256}"):
        store.upload(path, "damaged/model.onnx", digest)

    assert not store.holds("damaged/model.onnx", path, digest)
    store.delete_below("damaged/")


def test_an_object_that_is_not_there_is_told_apart_from_an_error(store: ObjectStore, tmp_path: Path) -> None:
    path, digest = file_of(tmp_path / "model.onnx", 10)

    assert store.read("nowhere/key") is None
    assert not store.holds("nowhere/key", path, digest)
    assert store.list_prefixes("nowhere/") == []


def test_names_below_a_prefix_are_listed_without_what_is_below_them(store: ObjectStore) -> None:
    for key in ("listed/a/1/x", "listed/a/2/x", "listed/b/1/x", "listed/file"):
        store.write(key, b"x")

    assert store.list_prefixes("listed/") == ["a", "b"]
    store.delete_below("listed/")


def test_a_name_without_keys_below_it_any_more_is_not_listed(store: ObjectStore) -> None:
    for key in ("emptied/a/1/x", "emptied/b/1/x"):
        store.write(key, b"x")

    store.delete_below("emptied/a/")

    assert store.list_prefixes("emptied/") == ["b"]
    store.delete_below("emptied/")


def test_an_object_is_created_once_and_never_overwritten(store: ObjectStore) -> None:
    created = [store.create("once/key", content) for content in (b"first", b"second")]

    assert created == [True, False]
    assert store.read("once/key") == b"first"
    store.delete_below("once/")


@pytest.mark.usefixtures("puts_one_by_one")
def test_of_many_that_create_an_object_at_once_exactly_one_succeeds(moto_store: ObjectStore) -> None:
    class BlindStore(ObjectStore):
        """Finds every key free, as all do that look at the same moment, so that the store itself has to decide."""

        def exists(self, key: str) -> bool:
            return False

    store, contents = BlindStore(bucket_at(moto_store.client.meta.endpoint_url)), [b"%d" % n for n in range(8)]
    with ThreadPoolExecutor(8) as threads:
        created = list(threads.map(lambda content: store.create("raced/key", content), contents))

    assert sorted(created) == [False] * 7 + [True]
    assert moto_store.read("raced/key") == contents[created.index(True)]
    moto_store.delete_below("raced/")


@pytest.mark.usefixtures("puts_one_by_one")
def test_whoever_creates_an_object_and_misses_the_answer_learns_that_it_succeeded(
    moto_store: ObjectStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    put_object, lost = S3Response.put_object, iter([True])

    def answer_lost_once(response: S3Response) -> Any:
        answer = put_object(response)
        return (503, {}, "") if next(lost, False) else answer

    monkeypatch.setattr(S3Response, "put_object", answer_lost_once)

    assert moto_store.create("answered/late", b"mine")
    assert not moto_store.create("answered/late", b"other")
    moto_store.delete_below("answered/")


def test_a_fingerprint_changes_with_the_content_and_only_then(store: ObjectStore) -> None:
    assert store.get_fingerprint("print/key") is None
    fingerprints = []
    for content in (b"one", b"two", b"one"):
        store.write("print/key", content)
        fingerprints.append(store.get_fingerprint("print/key"))

    assert fingerprints[0] is not None
    assert fingerprints[0] == fingerprints[2] != fingerprints[1]
    store.delete_below("print/")


def test_a_listing_tells_each_key_and_no_fingerprint_that_is_not_that_of_its_content(store: ObjectStore) -> None:
    store.write("repository/scanned/1/model.onnx", b"one")
    store.write("repository/scanned/2/model.onnx", b"two")

    found = dict(store.scan("repository/scanned/"))

    assert set(found) == {"1/model.onnx", "2/model.onnx"}
    assert len({*found.values()} - {None}) in {0, 2}
    for path, fingerprint in found.items():
        asked = store.get_fingerprint(f"repository/scanned/{path}")
        assert fingerprint is None or fingerprint == asked or str(asked).startswith(fingerprint.partition(":")[0])
    store.delete_below("repository/scanned/")


def test_the_sha256_of_an_object_is_that_of_its_content(store: ObjectStore) -> None:
    content = os.urandom(2 * 1024**2 + 1)
    store.write("hashed/key", content)

    assert store.get_sha256("hashed/key") == hashlib.sha256(content).hexdigest()
    store.delete_below("hashed/")


@pytest.mark.parametrize("broken_off", [1, 3])
def test_an_answer_that_breaks_off_is_asked_for_again(
    stack: LocalStack, environment: Environment, broken_off: int
) -> None:
    content = os.urandom(200_000)
    environment.repository.store.write("test-broken-off", content)

    with faulty_proxy(stack.s3_url) as proxy:
        store = through_s3_proxy(environment, proxy).repository.store
        proxy.faults = [Fault("GET", "test-broken-off", times=broken_off, answered_bytes=70_000)]
        assert store.read("test-broken-off") == content
        proxy.faults = [Fault("GET", "test-broken-off", times=broken_off, answered_bytes=70_000)]
        assert store.get_sha256("test-broken-off") == hashlib.sha256(content).hexdigest()


def test_answers_that_all_break_off_are_given_up(stack: LocalStack, environment: Environment) -> None:
    environment.repository.store.write("test-broken-off", b"content")

    with faulty_proxy(stack.s3_url, Fault("GET", "test-broken-off", answered_bytes=3)) as proxy:
        store = through_s3_proxy(environment, proxy).repository.store
        with pytest.raises(ServiceUnavailable, match=f"at {proxy.url}: no usable answer for test-broken-off"):
            store.read("test-broken-off")
        assert proxy.faults[0].hits == 4


@pytest.mark.parametrize(
    ("count", "page"), keep({"short pages": (25, 10), "pages of S3": (1005, 1000)}, {"short pages"})
)
def test_more_keys_than_a_page_holds_are_all_listed_and_deleted(
    moto_store: ObjectStore, monkeypatch: pytest.MonkeyPatch, count: int, page: int
) -> None:
    monkeypatch.setenv("MOTO_S3_DEFAULT_MAX_KEYS", str(page))
    for number in range(count):
        moto_store.write(f"many/{number}/x", b"")

    assert len(moto_store.list_prefixes("many/")) == count
    moto_store.delete_below("many/")
    assert moto_store.list_keys("many/") == {}


def test_a_listing_costs_no_parser_that_takes_dates_in_any_form(moto_store: ObjectStore) -> None:
    moto_store.write("listed/x", b"")

    [listed] = moto_store.client.list_objects_v2(Bucket=moto_store.bucket, Prefix="listed/")["Contents"]

    assert listed["LastModified"].tzinfo is UTC  # dateutil, which botocore asks otherwise, has a UTC of its own


def test_a_store_that_is_down_is_an_error_that_names_its_address() -> None:
    url = f"http://127.0.0.1:{free_port()}"

    with pytest.raises(ServiceUnavailable, match=f"S3 bucket 'test-bucket' at {url}"):
        ObjectStore(bucket_at(url)).read("key")


def test_a_store_that_does_not_answer_is_given_up_after_bounded_time() -> None:
    with silent_server() as url, pytest.raises(ServiceUnavailable, match=f"at {url}: no usable answer for key"):
        ObjectStore(bucket_at(url, read_timeout_s=1)).read("key")


def test_what_was_deleted_leaves_no_folder_and_takes_none_with_it(store: ObjectStore) -> None:
    for key in ("folders/a/1/x", "folders/a/2/x", "folders/b/1/x", "folders/c"):
        store.write(key, b"")

    store.delete("folders/a/1/x")
    store.delete_below("folders/b/")

    assert (store.list_prefixes("folders/"), store.list_prefixes("folders/a/")) == (["a"], ["2"])
    assert set(store.list_keys("folders/")) == {"folders/a/2/x", "folders/c"}
    store.delete_below("folders/")
