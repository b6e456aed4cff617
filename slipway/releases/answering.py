"""Answering an alias that was set: looked up once, recorded as answered, released unless that is outdated by now."""

from datetime import datetime

from pydantic import BaseModel, ConfigDict, Field

from blocks.environment import Environment
from blocks.registry import RegisteredVersion
from slipway.releases.alias_update import explain_outdated, mark_answered
from slipway.releases.settlement import is_left_to_settle, settle


class Answer(BaseModel):
    """What a source names, and whether it is to be released."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    registered: RegisteredVersion
    superseded: str | None = Field(description="Why nothing is to be released for it, None where it is.")


def answer(
    model_name: str, source: str, alias_set_at: datetime | None, *, dry_run: bool, environment: Environment
) -> Answer:
    """Look a source up, and answer the alias that was set on it, unless this is a dry run.

    The answer is recorded before anything can fail, so that nobody tries the same change again and again. What another
    run left is settled next: a rollback that was only to be finished may have been one from this very version.
    `NotRegistered` where the registry knows no such model, alias or version.
    """
    registry = environment.registry
    registered = registry.resolve(model_name, source)
    superseded = explain_outdated(registered, alias_set_at) if alias_set_at else None
    if dry_run or superseded:
        return Answer(registered=registered, superseded=superseded)
    mark_answered(registered, alias_set_at, registry)
    if is_left_to_settle(model_name, environment):
        settle(model_name, environment)
        if alias_set_at:
            superseded = explain_outdated(registry.get_version(model_name, registered.version), alias_set_at)
    return Answer(registered=registered, superseded=superseded)
