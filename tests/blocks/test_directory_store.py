"""Two directories as a store: what is a model's is where Triton reads, and nothing else is."""

import os
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from blocks.directory_store import DirectoryStore
from blocks.errors import AccessRefused, InvalidInput, ReleaseTakenOver
from blocks.repository import ModelRepository


@pytest.fixture
def store(tmp_path: Path) -> DirectoryStore:
    return DirectoryStore(tmp_path / "models", tmp_path / "records", "repository")


def test_only_what_is_a_models_lies_where_triton_reads(store: DirectoryStore, tmp_path: Path) -> None:
    store.write("repository/one/1/model.onnx", b"x")
    store.write("records/one/1/claim", b"x")

    assert [path.name for path in (tmp_path / "models").iterdir()] == ["one"]
    assert store.uri("repository/one/1") == str(tmp_path / "models" / "one" / "1")
    assert store.list_prefixes("repository/") == ["one"]


def test_an_emptied_model_leaves_no_folder_and_the_repository_stays(store: DirectoryStore, tmp_path: Path) -> None:
    store.write("repository/one/1/model.onnx", b"x")

    store.delete_below("repository/one/")

    assert list((tmp_path / "models").iterdir()) == []


def test_of_many_that_write_under_one_condition_exactly_one_does(store: DirectoryStore) -> None:
    def write(number: int) -> str | None:
        return store.replace("locks/model.json", str(number).encode(), None)

    with ThreadPoolExecutor(8) as pool:
        written = [etag for etag in pool.map(write, range(40)) if etag is not None]

    assert len(written) == 1


def test_what_was_replaced_since_is_neither_replaced_nor_deleted(store: DirectoryStore) -> None:
    first = store.replace("journal/model.json", b"first", None)
    second = store.replace("journal/model.json", b"second", first)

    assert store.replace("journal/model.json", b"third", first) is None
    assert first is not None and not store.delete_if("journal/model.json", first)
    assert store.read("journal/model.json") == b"second"
    assert second is not None and store.delete_if("journal/model.json", second)
    assert not store.exists("journal/model.json")


def test_its_conditions_pass_the_check_of_a_store(store: DirectoryStore) -> None:
    store.check_conditions("locks/.")


def test_a_file_is_as_readable_as_this_process_makes_files(store: DirectoryStore, tmp_path: Path) -> None:
    (tmp_path / "made").touch()
    store.write("repository/one/config.pbtxt", b"x")

    written = tmp_path / "models" / "one" / "config.pbtxt"
    assert written.stat().st_mode == (tmp_path / "made").stat().st_mode


def test_the_age_is_that_of_the_file(store: DirectoryStore, tmp_path: Path) -> None:
    store.write("locks/model.json", b"x")
    path = tmp_path / "records" / "locks" / "model.json"
    os.utime(path, (path.stat().st_mtime - 100, path.stat().st_mtime - 100))

    found = store.look_at("locks/model.json")

    assert found is not None and 100 <= found.measure_age() < 130


def test_a_directory_that_only_others_wrote_to_is_looked_at_and_left_as_it_is(
    store: DirectoryStore, tmp_path: Path
) -> None:
    (tmp_path / "models" / "theirs").mkdir(parents=True)
    (tmp_path / "models" / "theirs" / "config.pbtxt").write_text("name: 'theirs'")
    written_at = (tmp_path / "models").stat().st_mtime_ns

    found = store.look_at("repository/theirs/config.pbtxt")

    assert found is not None and found.content == b"name: 'theirs'"
    assert (tmp_path / "models").stat().st_mtime_ns == written_at, "something was written"
    assert found.measure_age() < 60
    assert [path.name for path in tmp_path.iterdir()] == ["models"]
    assert [path.name for path in (tmp_path / "models").iterdir()] == ["theirs"]


def test_a_fence_keeps_a_change_from_being_made(tmp_path: Path) -> None:
    def refuse() -> None:
        raise ReleaseTakenOver("lost")

    store = DirectoryStore(tmp_path / "models", tmp_path / "records", "repository", refuse)

    changes: tuple[Callable[[], object], ...] = (
        lambda: store.write("records/x", b""),
        lambda: store.replace("records/x", b"", None),
        lambda: store.delete("records/x"),
    )

    for change in changes:
        with pytest.raises(ReleaseTakenOver):
            change()
    assert store.list_keys("records/") == {}


def test_a_key_that_leaves_the_store_is_refused(store: DirectoryStore) -> None:
    with pytest.raises(ValueError, match="leaves the store"):
        store.write("repository/../elsewhere", b"")


def test_records_inside_of_what_triton_reads_are_refused(tmp_path: Path) -> None:
    with pytest.raises(InvalidInput, match="inside of the model repository"):
        DirectoryStore(tmp_path, tmp_path / "records", "repository")


@pytest.mark.skipif(os.geteuid() == 0, reason="nothing is refused to root")
def test_a_directory_that_is_not_ours_is_refused_access_to(tmp_path: Path) -> None:
    (tmp_path / "models").mkdir(mode=0o500)

    with pytest.raises(AccessRefused, match="check who owns it"):
        DirectoryStore(tmp_path / "models", tmp_path / "records", "repository").write("repository/a/b", b"")


def test_a_repository_has_its_records_beside_its_directory(tmp_path: Path) -> None:
    repository = ModelRepository(models_directory=tmp_path / "models")

    repository.write_record("one", 1, "claim", b"me")

    assert (tmp_path / "models.slipway" / "records" / "one" / "1" / "claim").read_bytes() == b"me"
    assert repository.uri("one", 1) == str(tmp_path / "models" / "one" / "1")
