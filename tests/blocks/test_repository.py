"""The model repository: numbers are taken once, moves that broke off are completed, nothing half is ever complete."""

from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from blocks.checksums import FileDigest
from blocks.environment import Environment
from blocks.errors import IntegrityError, VersionConflict
from blocks.repository import ModelRepository
from tests.apparatus.stores import repository_in_memory


@pytest.fixture(scope="module")
def conditional() -> Iterator[ModelRepository]:
    """A repository on a store that honours conditional writes."""
    with repository_in_memory() as repository:
        yield repository


@pytest.fixture(params=["embedded", "conditional"])
def repository(request: pytest.FixtureRequest) -> ModelRepository:
    """A repository on either kind of store."""
    if request.param == "conditional":
        found: ModelRepository = request.getfixturevalue("conditional")
        return found
    environment: Environment = request.getfixturevalue("environment")
    return environment.repository


def stored(repository: ModelRepository, place: str, model_name: str, version: int) -> None:
    """Put a complete version into repository, staging or archive."""
    for name in ("model.onnx", "metadata.json"):
        repository.store.write(f"{place}/{model_name}/{version}/{name}", name.encode())


def test_a_number_is_taken_once_and_by_its_own_run_again(repository: ModelRepository, model_name: str) -> None:
    repository.claim(model_name, 1, "run a")
    repository.claim(model_name, 1, "run a")

    with pytest.raises(VersionConflict, match=r"version 1 in .*: the number was taken by flow run run a"):
        repository.claim(model_name, 1, "run b")


def test_of_many_that_want_a_number_at_once_one_gets_it_where_writes_are_conditional(
    conditional: ModelRepository, model_name: str
) -> None:
    def claimed(claimant: str) -> bool:
        try:
            conditional.claim(model_name, 1, claimant)
        except VersionConflict:
            return False
        return True

    with ThreadPoolExecutor(8) as pool:
        outcomes = list(pool.map(claimed, [f"run {number}" for number in range(8)]))

    assert sorted(outcomes) == [False] * 7 + [True]


def test_numbers_grow_over_gaps_archives_and_what_was_removed(repository: ModelRepository, model_name: str) -> None:
    assert repository.find_next_version(model_name) == 1
    stored(repository, "repository", model_name, 2)
    stored(repository, "archive", model_name, 9)
    assert repository.find_next_version(model_name) == 10
    repository.claim(model_name, 12, "run")
    repository.discard_archived(model_name, 9)
    assert repository.find_next_version(model_name) == 13


def test_all_models_are_listed_as_each_of_them_is_alone(repository: ModelRepository, model_name: str) -> None:
    other = f"other-{model_name}"
    for place, name, version in (("repository", model_name, 2), ("archive", model_name, 1), ("archive", other, 7)):
        stored(repository, place, name, version)
    repository.store.write(f"repository/{model_name}/config.pbtxt", b"")

    listing, alone = repository.list_all(), repository.list_all((model_name,))

    for name in (model_name, other):
        assert listing.get_versions(name) == repository.list_versions(name)
    assert alone.get_versions(model_name) == repository.list_versions(model_name)
    assert alone.get_files(model_name) == listing.get_files(model_name)
    assert set(listing.get_files(model_name)) == {"config.pbtxt", "2/model.onnx", "2/metadata.json"}
    assert listing.get_files(other) == {} and alone.get_versions(other).archive == ()


def test_a_version_is_placed_from_staging_or_archive_and_only_when_complete(
    repository: ModelRepository, model_name: str
) -> None:
    stored(repository, "staging", model_name, 1)
    stored(repository, "archive", model_name, 2)
    repository.store.write(f"staging/{model_name}/3/model.onnx", b"half")

    repository.place(model_name, 1)
    repository.place(model_name, 2)
    with pytest.raises(IntegrityError, match=r"version 3 in .*: complete neither in the repository nor"):
        repository.place(model_name, 3)

    assert repository.list_stored(model_name) == (1, 2)
    assert repository.list_archived(model_name) == ()


@pytest.mark.parametrize("name", ["model.onnx", "metadata.json"])
def test_archiving_that_broke_off_while_deleting_is_completed(
    repository: ModelRepository, model_name: str, name: str
) -> None:
    stored(repository, "repository", model_name, 1)
    repository.archive(model_name, 1)
    repository.store.write(f"repository/{model_name}/1/{name}", name.encode())

    repository.archive(model_name, 1)

    assert repository.list_stored(model_name) == ()
    assert [key.rpartition("/")[2] for key in repository.store.list_keys(f"archive/{model_name}/1/")] == [
        "metadata.json",
        "model.onnx",
    ]


def test_archiving_that_broke_off_while_copying_can_be_undone(repository: ModelRepository, model_name: str) -> None:
    stored(repository, "repository", model_name, 1)
    repository.store.write(f"archive/{model_name}/1/model.onnx", b"model.onnx")

    repository.unarchive(model_name, 1)

    assert repository.list_stored(model_name) == (1,)
    assert repository.list_archived(model_name) == ()
    assert repository.store.read(f"repository/{model_name}/1/metadata.json") == b"metadata.json"


def test_files_in_subfolders_are_staged_placed_and_archived_like_others(
    repository: ModelRepository, model_name: str, tmp_path: Path
) -> None:
    names = ("weights/part-1.bin", "model.onnx", "metadata.json")
    for name in names:
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_bytes(name.encode())
    digests = tuple(FileDigest.of(tmp_path / name, name) for name in names)

    repository.stage(model_name, 1, tmp_path, digests)
    repository.place(model_name, 1)
    assert repository.store.read(f"repository/{model_name}/1/weights/part-1.bin") == b"weights/part-1.bin"

    repository.archive(model_name, 1)
    assert set(repository.store.list_keys(f"archive/{model_name}/1/")) == {
        f"archive/{model_name}/1/{name}" for name in names
    }
    assert repository.list_stored(model_name) == ()


def test_what_a_version_brings_for_its_whole_model_lies_beside_the_configuration(
    repository: ModelRepository, model_name: str
) -> None:
    stored(repository, "repository", model_name, 1)
    stored(repository, "repository", model_name, 2)
    repository.store.write(f"repository/{model_name}/1/shared/labels.txt", b"cat")
    repository.store.write(f"repository/{model_name}/2/shared/labels.txt", b"cat\ndog")

    repository.share(model_name, 2)
    assert repository.store.read(f"repository/{model_name}/labels.txt") == b"cat\ndog"

    repository.share(model_name, 1)  # a rollback
    assert repository.store.read(f"repository/{model_name}/labels.txt") == b"cat"
    assert repository.list_stored(model_name) == (1, 2)
