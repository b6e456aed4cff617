"""An alias is answered once: recorded before anything can fail, and looked at again after what another run left."""

from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta

import pytest

from blocks.errors import NotRegistered
from slipway.releases.alias_update import explain_outdated, mark_answered
from slipway.releases.answering import answer
from slipway.releases.journal import Proven, mark_proven, open_journal, read_open
from slipway.releases.missed_updates import find_missed
from slipway.releases.rollback_plan import plan_rollback
from tests.apparatus.paper import Shelf, make_receipt

SOON = timedelta(seconds=5)


@contextmanager
def being_run(name: str, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Be a flow run of this id while the block runs."""
    with monkeypatch.context() as patched:
        patched.setenv("PREFECT__RUNTIME__FLOW_RUN__ID", name)
        yield


def tags(shelf: Shelf, version: int) -> dict[str, str]:
    return shelf.environment.registry.get_version(shelf.model_name, version).tags


def missed(shelf: Shelf) -> list[int | None]:
    return [u.version for u in find_missed(shelf.environment.registry) if u.model_name == shelf.model_name]


def test_an_update_is_answered_once_and_not_by_another_run(shelf: Shelf, monkeypatch: pytest.MonkeyPatch) -> None:
    shelf.registered()
    set_at = datetime.now(UTC)

    answers = []
    for run in ("run a", "run b", "run a"):
        with being_run(run, monkeypatch):
            answers.append(
                answer(shelf.model_name, "version:1", set_at, dry_run=False, environment=shelf.environment).superseded
            )

    assert answers[0] is None and answers[2] is None, "executed again, a run goes on with its own update"
    assert "flow run run a answered this change of 'deploy'" in (answers[1] or "")


def test_a_later_update_of_the_same_version_is_answered_anew(shelf: Shelf, monkeypatch: pytest.MonkeyPatch) -> None:
    shelf.registered()
    set_at = datetime.now(UTC)

    for run, at in (("run a", set_at), ("run b", set_at + SOON)):
        with being_run(run, monkeypatch):
            found = answer(shelf.model_name, "version:1", at, dry_run=False, environment=shelf.environment)
        assert found.superseded is None


def test_an_update_that_was_overtaken_asks_for_nothing(shelf: Shelf) -> None:
    shelf.registered(2)

    found = answer(shelf.model_name, "version:1", datetime.now(UTC), dry_run=False, environment=shelf.environment)

    assert "the alias 'deploy' was moved on or removed since" in (found.superseded or "")
    assert "deploy_answered_at" not in tags(shelf, 1)


def test_a_dry_run_answers_nothing(shelf: Shelf) -> None:
    shelf.registered()

    found = answer(shelf.model_name, "alias:deploy", None, dry_run=True, environment=shelf.environment)

    assert (found.registered.version, found.superseded, tags(shelf, 1)) == (1, None, {})
    assert missed(shelf) == [1]


def test_who_asks_for_the_alias_itself_answers_it_too(shelf: Shelf, monkeypatch: pytest.MonkeyPatch) -> None:
    shelf.registered()

    with being_run("run a", monkeypatch):
        answer(shelf.model_name, "alias:deploy", None, dry_run=False, environment=shelf.environment)

    assert missed(shelf) == []


def test_a_version_that_does_not_carry_the_alias_is_released_and_answers_nothing(shelf: Shelf) -> None:
    shelf.registered(2)

    found = answer(shelf.model_name, "version:1", None, dry_run=False, environment=shelf.environment)

    assert (found.superseded, missed(shelf)) == (None, [2])


@pytest.mark.parametrize(("tag", "found"), [(None, []), ("deploy", [1]), ("release", [])])
def test_a_model_of_another_name_is_released_by_its_alias_where_its_tag_says_so(
    shelf: Shelf, tag: str | None, found: list[int]
) -> None:
    other = Shelf(shelf.environment, f"{shelf.model_name}-of-another-name").registered()
    if tag is not None:
        shelf.environment.registry.tag_model(other.model_name, {"slipway.released_by": tag})

    assert missed(other) == found


def test_an_alias_that_is_moved_back_to_what_was_answered_before_asks_anew(
    shelf: Shelf, monkeypatch: pytest.MonkeyPatch
) -> None:
    shelf.registered(2)
    registry = shelf.environment.registry
    for version in (1, 2):
        registry.set_alias(shelf.model_name, "deploy", version)
        with being_run(f"run {version}", monkeypatch):
            mark_answered(registry.get_version(shelf.model_name, version), None, registry)
    registry.set_alias(shelf.model_name, "deploy", 1)

    (update,) = (update for update in find_missed(registry) if update.model_name == shelf.model_name)

    assert update.version == 1
    assert explain_outdated(registry.get_version(shelf.model_name, 1), update.set_at) is None


def test_an_alias_set_on_a_version_that_was_released_without_it_asks_anew(
    shelf: Shelf, monkeypatch: pytest.MonkeyPatch
) -> None:
    shelf.registered(2)
    registry = shelf.environment.registry
    registry.remove_alias(shelf.model_name, "deploy")
    for version in (1, 2):
        with being_run(f"run {version}", monkeypatch):
            source = f"version:{version}"
            answer(shelf.model_name, source, None, dry_run=False, environment=shelf.environment)
    registry.set_alias(shelf.model_name, "live", 2)
    registry.set_alias(shelf.model_name, "deploy", 1)

    assert missed(shelf) == [1]


def test_what_is_live_already_is_not_missed(shelf: Shelf) -> None:
    shelf.registered()
    shelf.environment.registry.set_alias(shelf.model_name, "live", 1)

    assert missed(shelf) == []


def test_a_release_that_is_left_proven_is_finished_before_the_answer_is_given(shelf: Shelf) -> None:
    shelf.released(2)
    environment, set_at = shelf.environment, datetime.now(UTC) - SOON
    plan = plan_rollback(shelf.model_name, reason="too many cats", environment=environment)
    open_journal(environment.repository, plan)
    environment.repository.commit(
        shelf.model_name,
        "version_policy { specific { versions: 1 } }",
        after=(environment.repository.read_commit(shelf.model_name) or pytest.fail("nothing committed")).etag,
    )
    receipt = make_receipt(shelf.model_name, 1, plan.aliases_before, plan.aliases_after).model_copy(
        update={"kind": "rollback", "live_since": datetime.now(UTC)}
    )
    mark_proven(environment.repository, plan, receipt)
    assert isinstance(read_open(environment.repository, shelf.model_name), Proven)

    found = answer(shelf.model_name, "version:2", set_at, dry_run=False, environment=environment)

    assert "was rolled back from at" in (found.superseded or ""), "set before the rollback that was only to be finished"
    assert read_open(environment.repository, shelf.model_name) is None
    assert environment.registry.get_aliases(shelf.model_name)["live"] == 1


@pytest.mark.parametrize("source", ["version:9", "alias:nope"])
def test_what_is_not_registered_is_refused(shelf: Shelf, source: str) -> None:
    shelf.registered()

    with pytest.raises(NotRegistered):
        answer(shelf.model_name, source, None, dry_run=False, environment=shelf.environment)
