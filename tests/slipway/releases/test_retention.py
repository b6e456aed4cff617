"""What goes to the archive, and what the archive keeps: by worth, never what has an alias, never what is not ours."""

import pytest

from slipway.releases.marks import Mark, write_mark
from slipway.releases.retention import archive_retired, discard_superfluous, find_superfluous
from tests.apparatus.paper import THEN, Shelf


@pytest.fixture
def five(shelf: Shelf) -> Shelf:
    """A model on paper: 5 live, 4 previous, 1 to 3 in the archive."""
    return shelf.released(5)


def superfluous(shelf: Shelf, keep: int) -> tuple[int, ...]:
    return find_superfluous(shelf.model_name, keep, shelf.environment.registry, shelf.environment.repository)


@pytest.mark.parametrize(("keep", "removed"), [(3, ()), (2, (1,)), (1, (2, 1)), (0, (3, 2, 1))])
def test_the_newest_are_kept(five: Shelf, keep: int, removed: tuple[int, ...]) -> None:
    assert superfluous(five, keep) == removed


def test_a_version_that_has_an_alias_is_kept_beyond_that(five: Shelf) -> None:
    five.environment.registry.set_alias(five.model_name, "audited", 1)

    assert superfluous(five, 1) == (2,)


@pytest.mark.parametrize("by", ["the registry's tag", "the mark in its record"])
def test_a_version_that_was_rolled_back_from_goes_before_all_others(five: Shelf, by: str) -> None:
    if by == "the registry's tag":
        five.environment.registry.tag_version(five.model_name, 3, {"rolled_back": "too many cats"})
    else:
        write_mark(five.environment.repository, five.model_name, 3, Mark(reason="too many cats", at=THEN))

    assert superfluous(five, 2) == (3,)


def test_what_slipway_never_released_is_neither_counted_nor_removed(five: Shelf) -> None:
    five.environment.repository.store.write(f"archive/{five.model_name}/9/metadata.json", b"{}")

    assert superfluous(five, 3) == ()
    assert 9 not in superfluous(five, 0)


def test_where_the_registry_knows_no_such_model_nothing_is_removed(five: Shelf) -> None:
    five.environment.registry.connect().delete_registered_model(five.model_name)

    assert superfluous(five, 0) == ()


def test_what_is_removed_is_gone_and_its_number_is_not_taken_again(five: Shelf) -> None:
    repository = five.environment.repository

    discard_superfluous(five.model_name, 1, five.environment.registry, repository)

    assert repository.list_archived(five.model_name) == (3,)
    assert repository.find_next_version(five.model_name) == 6


def test_what_the_policy_does_not_name_is_archived_where_there_is_one(five: Shelf) -> None:
    repository, name = five.environment.repository, five.model_name
    repository.unarchive(name, 3)
    repository.store.write(f"repository/{name}/9/model.onnx", b"somebody's own")

    assert archive_retired(name, repository) == (3,)
    assert repository.list_stored(name) == (4, 5, 9)

    repository.store.delete(f"repository/{name}/config.pbtxt")
    assert archive_retired(name, repository) == (), "nothing is committed, so nothing is known to be retired"
