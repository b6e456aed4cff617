"""Where a rollback goes: the newest released version before the live one that can be gone back to, or one named."""

import pytest

from blocks.errors import InvalidInput, NoRollbackTarget, ServiceUnavailable
from blocks.registry import RegisteredModel
from blocks.repository_layout import StoredVersions
from slipway.releases.marks import Mark, write_mark
from slipway.releases.released import Known
from slipway.releases.rollback_plan import check_target, derive_aliases_back, find_target, plan_rollback
from slipway.releases.serving_config import apply_policy
from tests.apparatus.locks import commit_by_hand
from tests.apparatus.paper import THEN, Shelf

# registry versions 11, 12 and 13 were released as 1, 2 and 3; the newest one is live
RELEASED = [Known(registry_version=10 + version, version=version, marked=None) for version in (3, 2, 1)]
LIVE, SECOND, FIRST = RELEASED
NEXT = Known(registry_version=14, version=5, marked=None)
MARKED = SECOND._replace(marked="2026-02-03 (too many cats)")
STORED = StoredVersions(repository=(2, 3), archive=(1,))


def model(**aliases: int) -> RegisteredModel:
    return RegisteredModel(name="m-onnx", aliases={"live": 13, **aliases})


@pytest.mark.parametrize(
    ("to", "expected"),
    [("alias:previous", SECOND), ("alias:audited", FIRST), ("version:11", FIRST), ("version:13", LIVE)],
)
def test_a_target_is_the_version_that_an_alias_or_a_number_names(to: str, expected: Known) -> None:
    assert find_target(model(previous=12, audited=11), to, RELEASED, LIVE) == expected


@pytest.mark.parametrize("aliases", [{}, {"previous": 13}])
def test_where_previous_is_forgotten_or_names_what_is_live_the_newest_before_it_is_the_target(
    aliases: dict[str, int],
) -> None:
    assert find_target(model(**aliases), "alias:previous", RELEASED, LIVE) == SECOND
    assert find_target(model(**aliases), "alias:previous", [LIVE, MARKED, FIRST], LIVE) == FIRST


def test_what_was_live_before_with_other_settings_is_gone_back_to_first() -> None:
    tuned = Known(registry_version=13, version=4, marked=None)
    aliases = model(previous=12)

    assert find_target(aliases, "alias:previous", [tuned, *RELEASED], tuned) == LIVE
    left = tuned._replace(marked="2026-02-03 (slower)")
    assert find_target(aliases, "alias:previous", [left, *RELEASED], LIVE) == SECOND
    assert find_target(model(live=14, previous=13), "alias:previous", [NEXT, left, *RELEASED], NEXT) == LIVE
    assert derive_aliases_back(aliases, SECOND, [tuned, *RELEASED], STORED) == {"live": 12, "previous": 11}


@pytest.mark.parametrize(
    ("to", "released", "message"),
    [
        ("alias:previous", [LIVE], r"has no alias 'previous', so .*; released before were no other versions$"),
        (
            "alias:previous",
            [LIVE, MARKED],
            r"has no alias 'previous', .*released before were \[12\]: name one as version:N",
        ),
        ("alias:nope", RELEASED, r"has no alias 'nope'.*\[12, 11\]"),
        ("version:14", RELEASED, r"version 14: was never released, expected one that was; .* source version:14"),
    ],
)
def test_a_target_that_cannot_be_is_refused_with_those_that_can(to: str, released: list[Known], message: str) -> None:
    with pytest.raises(NoRollbackTarget, match=message):
        find_target(model(), to, released, LIVE)


def test_a_version_that_was_rolled_back_from_is_never_gone_back_to() -> None:
    with pytest.raises(NoRollbackTarget, match=r"version 12: was rolled back from at 2026-02-03 \(too many cats\)"):
        check_target("m-onnx", MARKED, LIVE, STORED)


def test_a_newer_version_is_no_target() -> None:
    with pytest.raises(InvalidInput, match=r"version 13: is newer than the live version 11, .*source version:13"):
        check_target("m-onnx", LIVE, FIRST, STORED)


def test_a_version_whose_files_are_gone_is_no_target() -> None:
    with pytest.raises(NoRollbackTarget, match=r"version 11: its files are neither in the repository nor"):
        check_target("m-onnx", FIRST, LIVE, STORED.model_copy(update={"archive": ()}))


def test_previous_is_to_be_the_newest_older_version_that_can_be_gone_back_to() -> None:
    forgotten = SECOND._replace(is_registered=False)
    gone = StoredVersions(repository=(3,), archive=(1,))
    going = model(previous=12, audited=11)

    assert derive_aliases_back(going, SECOND, RELEASED, STORED) == {"audited": 11, "live": 12, "previous": 11}
    assert derive_aliases_back(going, FIRST, RELEASED, STORED) == {"audited": 11, "live": 11}
    newest = Known(registry_version=14, version=4, marked=None)
    for passed_over in (MARKED, forgotten):
        after = derive_aliases_back(
            model(), LIVE._replace(registry_version=15), [newest, LIVE, passed_over, FIRST], STORED
        )
        assert after["previous"] == 11
    assert derive_aliases_back(model(), LIVE._replace(registry_version=15), RELEASED, gone)["previous"] == 11


def test_a_version_that_the_registry_has_no_more_carries_no_alias() -> None:
    assert derive_aliases_back(model(), SECOND._replace(is_registered=False), RELEASED, STORED) == {"previous": 11}


def test_a_rollback_that_was_done_changes_no_alias() -> None:
    assert derive_aliases_back(model(previous=12), LIVE, RELEASED, STORED) == {"live": 13, "previous": 12}


def test_a_plan_says_what_is_to_be_served_and_what_was(shelf: Shelf) -> None:
    shelf.released(3)

    plan = plan_rollback(shelf.model_name, reason="too many cats", environment=shelf.environment)

    assert (plan.kind, plan.version, plan.registry_version, plan.reason) == ("rollback", 2, 2, "too many cats")
    assert (plan.served_before, plan.serves, plan.creates_version) == ((2, 3), (2,), False)
    assert plan.aliases_after == {"deploy": 3, "live": 2, "previous": 1}


def test_what_is_served_and_not_newer_than_the_target_stays_served(shelf: Shelf) -> None:
    shelf.released(4)  # 3 and 4 served
    name, repository = shelf.model_name, shelf.environment.repository
    repository.unarchive(name, 1)
    commit_by_hand(repository, name, apply_policy("", (1, 3, 4)))

    plan = plan_rollback(name, environment=shelf.environment)

    assert (plan.version, plan.serves, plan.served_before) == (3, (1, 3), (1, 3, 4))
    assert plan.aliases_after["previous"] == 1, "which is served, and 2 is in the archive"
    assert plan_rollback(name, "version:2", environment=shelf.environment).serves == (1, 2)


def test_what_was_released_is_known_without_the_registry(shelf: Shelf) -> None:
    shelf.released(3)
    repository = shelf.environment.repository
    write_mark(repository, shelf.model_name, 2, Mark(reason="too many cats", at=THEN))
    registry = shelf.environment.registry.model_copy(update={"tracking_uri": "http://127.0.0.1:9", "max_retries": 0})
    alone = type(shelf.environment)(registry, repository, shelf.environment.fleet)

    assert plan_rollback(shelf.model_name, "version:1", environment=alone).version == 1
    with pytest.raises(NoRollbackTarget, match=r"version 2: was rolled back from at 2026-02-03T.*too many cats"):
        plan_rollback(shelf.model_name, environment=alone)
    with pytest.raises(ServiceUnavailable):
        registry.get_model(shelf.model_name)


def test_a_mark_in_the_registry_s_tags_is_one_too(shelf: Shelf) -> None:
    shelf.released(3)
    tags = {"rolled_back": "too many cats", "rolled_back_at": THEN.isoformat()}
    shelf.environment.registry.tag_version(shelf.model_name, 2, tags)

    with pytest.raises(NoRollbackTarget, match=r"version 2: was rolled back from at 2026-02-03T.*too many cats"):
        plan_rollback(shelf.model_name, "version:2", environment=shelf.environment)


def test_a_live_version_that_the_registry_has_no_more_can_be_left_and_gone_back_to(shelf: Shelf) -> None:
    shelf.released(2)
    shelf.environment.registry.connect().delete_model_version(shelf.model_name, "2")

    plan = plan_rollback(shelf.model_name, environment=shelf.environment)

    assert (plan.version, plan.aliases_after) == (1, {"live": 1})


def test_where_nothing_is_live_there_is_nothing_to_go_back_from(shelf: Shelf) -> None:
    shelf.registered()

    with pytest.raises(NoRollbackTarget, match="nothing is live, so there is nothing to go back from"):
        plan_rollback(shelf.model_name, environment=shelf.environment)
