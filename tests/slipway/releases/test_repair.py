"""Repair: what is safe is brought to what is committed; what somebody may have meant is not touched."""

from collections.abc import Callable

import pytest

from blocks.repository_layout import name_candidate
from slipway.releases.drift import Kind
from slipway.releases.repair import repair
from slipway.releases.serving_config import apply_policy
from slipway.releases.survey import Depth, ModelState, survey
from tests.apparatus.locks import commit_by_hand
from tests.apparatus.paper import ADDRESSES, Shelf


@pytest.fixture
def three(shelf: Shelf) -> Shelf:
    """A model on paper: 3 live, 2 previous, 1 in the archive."""
    return shelf.released(3)


def look(shelf: Shelf, keep_archived: int = 5) -> ModelState:
    depth = Depth(ask_replicas=False, keep_archived=keep_archived)
    (state,) = survey((shelf.model_name,), shelf.environment, depth)
    return state


def repaired(shelf: Shelf, keep_archived: int = 5) -> ModelState:
    """Repair what a look finds, and look again."""
    repair(look(shelf, keep_archived), keep_archived=keep_archived, environment=shelf.environment)
    return look(shelf, keep_archived)


def test_a_replica_that_serves_something_else_is_brought_to_the_policy(three: Shelf) -> None:
    three.environment.fleet.unload_model(ADDRESSES[1], three.model_name)
    assert [drift.kind for drift in look(three).drift] == [Kind.REPLICA_BEHIND]

    state = repaired(three)

    assert (state.drift, set(state.served.values())) == ((), {(2, 3)})


def test_what_an_upload_and_a_candidate_left_is_removed(three: Shelf) -> None:
    store = three.environment.repository.store
    store.write(f"staging/{three.model_name}/4/model.onnx", b"half")
    store.write(f"repository/{name_candidate(three.model_name, 7)}/4/model.onnx", b"half")
    assert len(look(three).drift) == 2

    assert repaired(three).drift == ()


def test_a_version_that_is_not_served_goes_to_the_archive(three: Shelf) -> None:
    repository, config = three.environment.repository, three.environment.repository.read_config(three.model_name)
    commit_by_hand(repository, three.model_name, apply_policy(config or "", (3,)))

    state = repaired(three)

    assert (state.repository, state.archive, state.drift) == ((3,), (1, 2), ())


def test_an_archive_beyond_retention_is_cut_but_never_by_a_version_with_an_alias(three: Shelf) -> None:
    three.released(2)
    three.environment.registry.set_alias(three.model_name, "audited", 1)
    assert [drift.kind for drift in look(three, keep_archived=1).drift] == [Kind.ARCHIVE_FULL]

    state = repaired(three, keep_archived=1)

    assert (state.archive, state.drift) == ((1, 3), ())


FOR_PEOPLE: dict[str, Callable[[Shelf], object]] = {
    "an alias moved by hand": lambda shelf: shelf.environment.registry.set_alias(shelf.model_name, "live", 1),
    "somebody's folder": lambda shelf: shelf.environment.repository.store.write(
        f"repository/{shelf.model_name}/7/model.onnx", b"somebody's own"
    ),
    "a model gone from the registry": lambda shelf: shelf.environment.registry.connect().delete_registered_model(
        shelf.model_name
    ),
    "a configuration nobody can read": lambda shelf: shelf.environment.repository.store.write(
        f"repository/{shelf.model_name}/config.pbtxt", b"no configuration"
    ),
}


@pytest.mark.parametrize("happens", FOR_PEOPLE.values(), ids=FOR_PEOPLE)
def test_what_is_left_to_people_stays_as_it_is(three: Shelf, happens: Callable[[Shelf], object]) -> None:
    happens(three)
    before, keys = look(three), three.environment.repository.store.list_keys("")

    after = repaired(three)

    assert (after, after.is_repairable) == (before, False)
    assert three.environment.repository.store.list_keys("") == keys
