"""Where aliases belong: `live` on what serves, `previous` on what served before it, every other one where it is."""

import pytest

from blocks.environment import Environment
from blocks.errors import NotRegistered, ReleaseTakenOver
from slipway.releases.aliases import align_aliases, bring_aliases, derive_aliases, move_aliases, update
from slipway.releases.journal import open_journal
from tests.apparatus.paper import Shelf, make_plan


@pytest.mark.parametrize(
    ("before", "released", "follows", "after"),
    [
        ({}, 1, None, {"live": 1}),
        ({"live": 1}, 2, 1, {"live": 2, "previous": 1}),
        ({"live": 2, "previous": 1}, 3, 2, {"live": 3, "previous": 2}),
        ({"live": 2, "previous": 1}, 2, 2, {"live": 2, "previous": 1}),
        ({"live": 2, "previous": 1}, 1, 2, {"live": 1, "previous": 2}),
        ({"live": 3, "previous": 2}, 4, None, {"live": 4, "previous": 2}),
        ({"previous": 1}, 1, None, {"live": 1}),
        ({"live": 1}, 2, 2, {"live": 2}),
    ],
    ids=[
        "a first release",
        "a second one",
        "a third one",
        "what is live already",
        "what was live before",
        "what followed is gone from the registry",
        "no version is its own predecessor",
        "nor where the policy served it",
    ],
)
def test_a_release_makes_what_was_live_the_previous_one(
    before: dict[str, int], released: int, follows: int | None, after: dict[str, int]
) -> None:
    assert derive_aliases(before, released, follows) == after
    assert derive_aliases(before | {"audited": 9}, released, follows) == after | {"audited": 9}


@pytest.fixture
def three(shelf: Shelf) -> Shelf:
    """Three versions on paper: 3 live, 2 previous."""
    return shelf.released(3)


def aliases(shelf: Shelf) -> dict[str, int]:
    return shelf.environment.registry.get_aliases(shelf.model_name)


def test_an_update_without_a_plan_points_live_at_a_version_and_is_the_same_twice(three: Shelf) -> None:
    three.registered()
    for _ in range(2):
        update(three.model_name, 4, None, dry_run=False, environment=three.environment)

        assert aliases(three) == {"deploy": 4, "live": 4, "previous": 3}


def test_a_dry_run_works_out_and_changes_nothing(three: Shelf) -> None:
    three.registered()
    before = aliases(three)

    change = update(three.model_name, 4, None, dry_run=True, environment=three.environment)

    assert (change.before, change.after["live"], aliases(three)) == (before, 4, before)


def test_a_plan_whose_journal_is_not_open_moves_no_alias(three: Shelf) -> None:
    plan = make_plan(three.model_name, 3, aliases_after={"live": 1})
    before = aliases(three)

    with pytest.raises(ReleaseTakenOver):
        update(three.model_name, 1, plan, dry_run=False, environment=three.environment)
    assert aliases(three) == before

    open_journal(three.environment.repository, plan)
    update(three.model_name, 1, plan, dry_run=False, environment=three.environment)
    assert aliases(three) == {"deploy": 3, "live": 1}


def test_live_is_never_pointed_at_a_version_that_is_not_registered(three: Shelf) -> None:
    before = aliases(three)

    with pytest.raises(NotRegistered):
        update(three.model_name, 9, None, dry_run=False, environment=three.environment)

    assert aliases(three) == before


def test_aliases_of_others_are_not_touched(three: Shelf) -> None:
    registry = three.environment.registry
    registry.set_alias(three.model_name, "audited", 1)

    bring_aliases(registry, three.environment.repository, three.model_name, {"live": 2})

    assert aliases(three) == {"audited": 1, "deploy": 3, "live": 2}


def test_an_alias_that_cannot_be_moved_keeps_the_other_one_from_nothing(three: Shelf) -> None:
    wanted = {"live": 2, "previous": 9}

    bring_aliases(three.environment.registry, three.environment.repository, three.model_name, wanted)

    assert aliases(three)["live"] == 2


def test_aliases_moved_by_who_lost_the_lock_meanwhile_go_back_to_what_the_policy_says(three: Shelf) -> None:
    asked = iter([True])

    def fence() -> None:
        if not next(asked, False):
            raise ReleaseTakenOver("lost while MLflow moved the alias")

    late = three.environment.registry.behind(fence)
    with pytest.raises(ReleaseTakenOver):
        move_aliases(late, three.environment.repository, three.model_name, aliases(three), {"live": 1, "previous": 2})

    assert aliases(three) == {"deploy": 3, "live": 3, "previous": 2}


def test_aligned_aliases_are_those_of_the_versions_the_policy_serves(on_paper: Environment, three: Shelf) -> None:
    registry = on_paper.registry
    for moved in ({"live": 1, "previous": 3}, {"live": 2}):
        for alias in ("live", "previous"):
            registry.remove_alias(three.model_name, alias)
        for alias, version in moved.items():
            registry.set_alias(three.model_name, alias, version)

        align_aliases(registry, on_paper.repository, three.model_name)

        assert aliases(three) == {"deploy": 3, "live": 3, "previous": 2}


def test_where_nothing_is_committed_live_goes_and_what_was_before_stays(on_paper: Environment, shelf: Shelf) -> None:
    shelf.registered(2)
    for alias, version in {"live": 2, "previous": 1}.items():
        on_paper.registry.set_alias(shelf.model_name, alias, version)

    align_aliases(on_paper.registry, on_paper.repository, shelf.model_name)

    assert aliases(shelf) == {"deploy": 2, "previous": 1}


def test_a_served_version_that_the_registry_has_no_more_gets_no_alias(on_paper: Environment, three: Shelf) -> None:
    on_paper.registry.connect().delete_model_version(three.model_name, "3")

    align_aliases(on_paper.registry, on_paper.repository, three.model_name)

    assert aliases(three) == {"previous": 2}
