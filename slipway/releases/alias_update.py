"""An alias that was set in MLflow: the event that says so, and whether it still asks for a release.

Events come late, twice, in any order, or not at all. What counts is the registry: a version is released for its alias
`deploy` once, as long as it carries it, and never for a change that is older than a rollback from it.
"""

from datetime import UTC, datetime
from typing import NamedTuple

from pydantic import TypeAdapter, ValidationError

from blocks.errors import InvalidInput
from blocks.labels import (
    ANSWERED_AT_TAG,
    ANSWERED_BY_TAG,
    ANSWERED_VERSION_TAG,
    DEPLOY,
    REFUSED_TAG,
    ROLLED_BACK_AT_TAG,
)
from blocks.moments import read_moment
from blocks.names import ModelName
from blocks.registry import ModelRegistry, RegisteredModel, RegisteredVersion
from blocks.run import get_flow_run_id


class AliasUpdate(NamedTuple):
    """An alias that was set on a version, or removed (then there is no version)."""

    model_name: str
    alias: str
    version: int | None
    set_at: datetime


def explain_outdated(version: RegisteredVersion, set_at: datetime) -> str | None:
    """Return why setting `deploy` on this version asks for nothing any more, None where it does.

    Raises `InvalidInput` where a time in its tags cannot be read.
    """
    subject = f"model '{version.model_name}' version {version.version}"
    if DEPLOY not in version.aliases:
        return f"{subject}: the alias '{DEPLOY}' was moved on or removed since"
    answered = _read_time(version.tags, ANSWERED_AT_TAG, subject)
    if answered and answered >= set_at and version.tags.get(ANSWERED_BY_TAG) != get_flow_run_id():
        return f"{subject}: flow run {version.tags.get(ANSWERED_BY_TAG)} answered this change of '{DEPLOY}'"
    rolled_back = _read_time(version.tags, ROLLED_BACK_AT_TAG, subject)
    if rolled_back and rolled_back >= set_at:
        return f"{subject}: was rolled back from at {rolled_back.isoformat()}, after '{DEPLOY}' was set on it"
    return None


def mark_answered(version: RegisteredVersion, set_at: datetime | None, registry: ModelRegistry) -> None:
    """Record that this run releases a version that carries `deploy`, so that no other does for the same change.

    The model records it, too: an alias that is moved back to a version that was answered before then asks anew. A run
    answers once: executed again, it does not answer what its alias points to by then.
    """
    answered_by = registry.get_model(version.model_name).tags.get(ANSWERED_BY_TAG)
    if DEPLOY not in version.aliases or answered_by == get_flow_run_id():
        return
    now = datetime.now(UTC)
    set_at, by = set_at or now, {ANSWERED_BY_TAG: get_flow_run_id()}
    registry.tag_version(version.model_name, version.version, {ANSWERED_AT_TAG: set_at.isoformat()} | by)
    seen = {ANSWERED_AT_TAG: max(set_at, now).isoformat(), ANSWERED_VERSION_TAG: str(version.version)}
    registry.tag_model(version.model_name, seen | by)


def find_move(model: RegisteredModel) -> datetime | None:
    """Return the moment after which `deploy` came to where it is, None where the last answer was to that version.

    Raises `InvalidInput` where the last answer's tags cannot be read.
    """
    subject = f"model '{model.name}'"
    answered = model.tags.get(ANSWERED_VERSION_TAG)
    if answered is None or answered == str(model.aliases.get(DEPLOY)):
        return None
    if not answered.isascii() or not answered.isdigit():
        raise InvalidInput(
            f"{subject}: its tag {ANSWERED_VERSION_TAG} is {answered[:80]!r}; expected a version: mend or remove it"
        )
    return _read_time(model.tags, ANSWERED_AT_TAG, subject)


def explain_refusal(model: RegisteredModel) -> str | None:
    """Return why setting `deploy` on this model releases nothing until somebody mends something, None where it does.

    It is what the poll found last, and what its name tells by itself.
    """
    if DEPLOY not in model.aliases:
        return None
    return explain_bad_name(model.name) or model.tags.get(REFUSED_TAG)


def explain_bad_name(model_name: str) -> str | None:
    """Return why slipway does not take a model of this name, None where it does."""
    try:
        TypeAdapter(ModelName).validate_python(model_name)
    except ValidationError as error:
        return f"{error.errors()[0]['msg'].removeprefix('Value error, ')}; register it under another name"
    return None


def _read_time(tags: dict[str, str], tag: str, subject: str) -> datetime | None:
    return read_moment(tags[tag], f"{subject}: its tag {tag}") if tag in tags else None
