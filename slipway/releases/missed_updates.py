"""What an alias asks for and nobody has answered: a webhook that was lost, MLflow or Prefect that was down."""

from collections.abc import Iterator

from blocks.errors import InvalidInput, NotRegistered, SlipwayError
from blocks.events import Happened, is_released_by_name, tell
from blocks.labels import DEPLOY, LIVE, REFUSED_TAG, RELEASED_BY_TAG
from blocks.registry import ModelRegistry, RegisteredModel
from blocks.run import warn
from slipway.releases.alias_update import AliasUpdate, explain_bad_name, explain_outdated, find_move

LONGEST_REASON = 1000


def find_missed(registry: ModelRegistry) -> Iterator[AliasUpdate]:
    """Yield an update for each version that carries `deploy`, is not live, and whose alias no run has answered.

    Models come by the page; only those whose aliases differ are asked about. One whose name or tags cannot be used is
    said once, as a tag on it, a warning and an event, and keeps no other from being looked at.
    """
    for model in registry.list_models():
        if not is_released_by_alias(model):
            continue
        try:
            update = _make_update(model, registry) if _differs(model) else None
        except InvalidInput as error:
            _refuse(model, str(error)[:LONGEST_REASON], registry)
            continue
        if REFUSED_TAG in model.tags:
            registry.untag_model(model.name, REFUSED_TAG)
        if update is not None:
            yield update


def is_released_by_alias(model: RegisteredModel) -> bool:
    """Tell whether setting `deploy` on a version releases it: by the model's name, or as its tag says."""
    return is_released_by_name(model.name) or model.tags.get(RELEASED_BY_TAG) == DEPLOY


def _differs(model: RegisteredModel) -> bool:
    return DEPLOY in model.aliases and model.aliases[DEPLOY] != model.aliases.get(LIVE)


def _make_update(model: RegisteredModel, registry: ModelRegistry) -> AliasUpdate | None:
    """Return the update unless it was answered, dated by the earliest moment at which the alias can have been set.

    MLflow does not say when that was: after the version was made, and, where the last answer was to another version,
    which carried the alias then, after that. Raises `InvalidInput` where name or tags cannot be used.
    """
    if reason := explain_bad_name(model.name):
        raise InvalidInput(reason)
    try:
        version = registry.get_version(model.name, model.aliases[DEPLOY])
    except NotRegistered:  # deleted since it was listed
        return None
    moved = find_move(model)
    set_at = max(version.created_at, moved) if moved else version.created_at
    if explain_outdated(version, set_at):
        return None
    return AliasUpdate(model.name, DEPLOY, version.version, set_at)


def _refuse(model: RegisteredModel, reason: str, registry: ModelRegistry) -> None:
    """Say why a model's alias is not looked at, unless that was said before."""
    if model.tags.get(REFUSED_TAG) == reason:
        return
    warn(f"'{DEPLOY}' on a model is not looked at: {reason}")
    tell(Happened.UPDATE_REFUSED, model.name, reason=reason)
    try:
        registry.tag_model(model.name, {REFUSED_TAG: reason})
    except SlipwayError as error:  # then it is said again, and others are looked at
        warn(str(error))
