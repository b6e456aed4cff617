"""Whether an alias that was set still asks for a release, by the registry's tags alone."""

import re
from datetime import UTC, datetime, timedelta

import pytest

from blocks.errors import InvalidInput
from blocks.registry import RegisteredModel, RegisteredVersion
from slipway.releases.alias_update import explain_bad_name, explain_outdated, explain_refusal, find_move

THEN = datetime(2026, 2, 3, 10, tzinfo=UTC)
BEFORE, AFTER = THEN - timedelta(minutes=1), THEN + timedelta(minutes=1)


def version(*aliases: str, **tags: str) -> RegisteredVersion:
    return RegisteredVersion(
        model_name="m-onnx", version=3, source_uri="models:/m-1", created_at=BEFORE, aliases=aliases, tags=tags
    )


def model(name: str = "m-onnx", deploy: int | None = 3, **tags: str) -> RegisteredModel:
    return RegisteredModel(name=name, aliases={"deploy": deploy} if deploy else {}, tags=tags)


def test_an_alias_nobody_answered_asks_for_a_release() -> None:
    assert explain_outdated(version("deploy"), THEN) is None


@pytest.mark.parametrize("tag", ["deploy_answered_at", "rolled_back_at"])
def test_what_was_answered_or_rolled_back_from_since_asks_for_nothing(tag: str) -> None:
    assert explain_outdated(version("deploy", **{tag: AFTER.isoformat()}), THEN)
    assert explain_outdated(version("deploy", **{tag: BEFORE.isoformat()}), THEN) is None


@pytest.mark.parametrize("tag", ["deploy_answered_at", "rolled_back_at"])
def test_a_time_without_a_time_zone_as_it_was_written_once_is_compared(tag: str) -> None:
    assert explain_outdated(version("deploy", **{tag: AFTER.replace(tzinfo=None).isoformat()}), THEN)
    assert explain_outdated(version("deploy", **{tag: BEFORE.replace(tzinfo=None).isoformat()}), THEN) is None


@pytest.mark.parametrize("text", ["", "last week", "2099-01-01T00:00:00+00:00"])
@pytest.mark.parametrize("tag", ["deploy_answered_at", "rolled_back_at"])
def test_a_tag_that_cannot_be_is_named(tag: str, text: str) -> None:
    with pytest.raises(InvalidInput, match=re.escape(f"version 3: its tag {tag} is {text!r}")):
        explain_outdated(version("deploy", **{tag: text}), THEN)


def test_an_alias_that_moved_since_the_last_answer_came_after_it() -> None:
    answered = {"deploy_answered_at": THEN.isoformat(), "deploy_answered_version": "2"}

    assert find_move(model(deploy=3, **answered)) == THEN
    assert find_move(model(deploy=2, **answered)) is None


@pytest.mark.parametrize("text", ["", "two", "-2", "²", "2.0"])
def test_an_answered_version_that_is_no_number_is_named(text: str) -> None:
    with pytest.raises(InvalidInput, match="model 'm-onnx': its tag deploy_answered_version is"):
        find_move(model(deploy_answered_version=text))


@pytest.mark.parametrize("name", ["my model-onnx", "modèle-onnx", ".hidden-onnx", "a/b-onnx", "x" * 121 + "-onnx"])
def test_a_name_slipway_does_not_take_is_refused_with_what_to_do(name: str) -> None:
    assert "expected 1 to 120 letters" in (explain_bad_name(name) or "")
    assert "register it under another name" in (explain_refusal(model(name)) or "")


def test_a_refusal_is_one_of_a_model_that_carries_the_alias() -> None:
    assert explain_refusal(model()) is None
    assert explain_refusal(model(deploy_refused="its tag is damaged")) == "its tag is damaged"
    assert explain_refusal(model("my model-onnx", deploy=None)) is None
