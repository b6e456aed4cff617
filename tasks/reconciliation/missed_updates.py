"""What an alias asks for and nobody has answered: a webhook that was lost, MLflow or Prefect that was down."""

from prefect import task
from prefect.cache_policies import NO_CACHE

from blocks.errors import NotRegistered
from blocks.registry import ModelRegistry, RegisteredModel
from tasks.deployment.alias_update import DEPLOY, AliasUpdate, moved_since, outdated
from tasks.deployment.update_aliases import LIVE

RELEASED_BY_EVENT = "-onnx"  # the models the trigger in prefect.yaml matches


@task(name="find-missed-updates", task_run_name="find-missed-updates", cache_policy=NO_CACHE)
def find_missed_updates(*, registry: ModelRegistry) -> tuple[AliasUpdate, ...]:
    """Return an update for each version that carries `deploy`, is not live, and whose alias no run has answered.

    Models come by the page; only those whose aliases differ are asked about.
    """
    differing = (model for model in registry.models() if model.name.endswith(RELEASED_BY_EVENT) and _differs(model))
    updates = (_update(model, registry) for model in differing)
    return tuple(update for update in updates if update is not None)


def _differs(model: RegisteredModel) -> bool:
    return DEPLOY in model.aliases and model.aliases[DEPLOY] != model.aliases.get(LIVE)


def _update(model: RegisteredModel, registry: ModelRegistry) -> AliasUpdate | None:
    """Return the update unless it was answered, dated by the earliest moment at which the alias can have been set.

    MLflow does not say when that was: after the version was made, and, where the last answer was to another version,
    which carried the alias then, after that.
    """
    try:
        version = registry.version(model.name, model.aliases[DEPLOY])
    except NotRegistered:  # deleted since it was listed
        return None
    assert version.created_at is not None, "a version read from the registry says when it was created"
    set_at = max(version.created_at, moved_since(model) or version.created_at)
    if outdated(version, set_at):
        return None
    return AliasUpdate(model.name, DEPLOY, version.version, set_at)
