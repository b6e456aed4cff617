"""What an alias asks for and nobody has answered: a webhook that was lost, MLflow or Prefect that was down."""

from prefect import task
from prefect.cache_policies import NO_CACHE

from blocks.registry import ModelRegistry, RegisteredVersion
from tasks.deployment.alias_update import ANSWERED_AT_TAG, DEPLOY, AliasUpdate
from tasks.deployment.finish_release import ROLLED_BACK_TAG, TRITON_VERSION_TAG
from tasks.deployment.update_aliases import LIVE

RELEASED_BY_EVENT = "-onnx"  # the models the trigger in prefect.yaml matches
SETTLED = {ANSWERED_AT_TAG, ROLLED_BACK_TAG, TRITON_VERSION_TAG}


@task(name="find-missed-updates", task_run_name="find-missed-updates", cache_policy=NO_CACHE)
def find_missed_updates(*, registry: ModelRegistry) -> tuple[AliasUpdate, ...]:
    """Return an update for each version that carries `deploy`, is not live and was never released nor tried.

    Models come by the page; only those whose aliases differ are asked about. When `deploy` was set is unknown: the
    update is dated as the version, so that whatever was recorded since outdates it.
    """
    differing = [
        (model.name, model.aliases[DEPLOY])
        for model in registry.models()
        if model.name.endswith(RELEASED_BY_EVENT) and model.aliases.get(DEPLOY) not in {None, model.aliases.get(LIVE)}
    ]
    versions = (registry.version(name, version) for name, version in differing)
    return tuple(_update(version) for version in versions if not SETTLED & version.tags.keys())


def _update(version: RegisteredVersion) -> AliasUpdate:
    assert version.created_at is not None, "a version read from the registry says when it was created"
    return AliasUpdate(version.model_name, DEPLOY, version.version, version.created_at)
