"""Which version a rollback goes back to, and whether it can."""

from typing import NamedTuple

from prefect import task
from prefect.cache_policies import NO_CACHE

from blocks.errors import InvalidInput, NoRollbackTarget
from blocks.names import ModelName, Source
from blocks.registry import ModelRegistry, RegisteredModel
from blocks.repository import ModelRepository, StoredVersions
from tasks.deployment.determine_version import KeepArchived, flow_run_id
from tasks.deployment.finish_release import (
    LAST_ROLLBACK_TAG,
    ROLLED_BACK_AT_TAG,
    ROLLED_BACK_TAG,
    TRITON_VERSION_TAG,
)
from tasks.deployment.plan import ReleasePlan
from tasks.deployment.serving_config import served_versions
from tasks.deployment.update_aliases import LIVE, PREVIOUS


class Known(NamedTuple):
    """A registered version that was released once: its numbers in MLflow and in Triton, and its tags."""

    registry_version: int
    version: int
    tags: dict[str, str]


@task(name="choose-target", task_run_name="choose-target", cache_policy=NO_CACHE)
def choose_target(
    model_name: ModelName,
    to: Source = "alias:previous",
    reason: str = "",
    keep_archived: KeepArchived = 5,
    *,
    registry: ModelRegistry,
    repository: ModelRepository,
) -> ReleasePlan:
    """Return the plan of a rollback; one that this flow run carried out already has nothing left to do.

    `live` is to be the target, `previous` the newest version older than it that was released, not rolled back from,
    and is still stored; nothing where there is none.

    Raises `NoRollbackTarget` where there is no version to go back to, where it was rolled back from itself, or where
    its files are gone.
    """
    model, config = registry.model(model_name), repository.read_config(model_name)
    released = _released(registry, model_name)
    live = next((known for known in released if known.registry_version == model.aliases.get(LIVE)), None)
    if live is None or config is None:
        raise NoRollbackTarget(f"model '{model_name}': nothing is live, so there is nothing to go back from")
    done = model.tags.get(LAST_ROLLBACK_TAG) == flow_run_id() != "shell"
    target = live if done else _target(model, to, released, live)
    stored = repository.versions(model_name)
    if not done:
        _check(model_name, target, live, stored)
    return ReleasePlan(
        model_name=model_name,
        kind="rollback",
        reason=reason or None,
        registry_version=target.registry_version,
        version=target.version,
        creates_version=False,
        already_live=target == live,
        flow_run_id=flow_run_id(),
        keep_archived=keep_archived,
        config_before=config,
        served_before=served_versions(config),
        aliases_before=model.aliases,
        aliases_after=_aliases_after(model, target, released, stored),
    )


def _released(registry: ModelRegistry, model_name: str) -> list[Known]:
    """Return every version that was released once, the newest in Triton's repository first."""
    versions = registry.versions(model_name)
    known = [
        Known(number, int(tags[TRITON_VERSION_TAG]), tags) for number, tags in versions if TRITON_VERSION_TAG in tags
    ]
    return sorted(known, key=lambda known: known.version, reverse=True)


def _target(model: RegisteredModel, to: str, released: list[Known], live: Known) -> Known:
    kind, _, value = to.partition(":")
    wanted = int(value) if kind == "version" else model.aliases.get(value)
    if wanted is None:
        others = [known.registry_version for known in released if known != live]
        raise NoRollbackTarget(
            f"model '{model.name}': has no alias '{value}', so there is nowhere to go back to; released before were "
            f"{others or 'no other versions'}{': name one as version:N' if others else ''}"
        )
    found = next((known for known in released if known.registry_version == wanted), None)
    if found is None:
        raise NoRollbackTarget(
            f"model '{model.name}' version {wanted}: was never released, expected one that was; release it with "
            f"deploy-model and source version:{wanted}"
        )
    return found


def _check(model_name: str, target: Known, live: Known, stored: StoredVersions) -> None:
    subject = f"model '{model_name}' version {target.registry_version}"
    if ROLLED_BACK_TAG in target.tags:
        raise NoRollbackTarget(
            f"{subject}: was rolled back from at {target.tags.get(ROLLED_BACK_AT_TAG, 'an unknown time')} "
            f"({target.tags[ROLLED_BACK_TAG]}); name an older version, or release it anew with deploy-model"
        )
    if target.version > live.version:
        raise InvalidInput(
            f"{subject}: is newer than the live version {live.registry_version}, expected an older one; release it "
            f"with deploy-model and source version:{target.registry_version}"
        )
    if target.version not in (*stored.repository, *stored.archive):
        raise NoRollbackTarget(
            f"{subject}: its files are neither in the repository nor in the archive any more; release it again with "
            f"deploy-model and source version:{target.registry_version}"
        )


def _aliases_after(
    model: RegisteredModel, target: Known, released: list[Known], stored: StoredVersions
) -> dict[str, int]:
    if model.aliases.get(LIVE) == target.registry_version:
        return model.aliases
    usable = {*stored.repository, *stored.archive}
    older = [
        known.registry_version
        for known in released
        if known.version < target.version and known.version in usable and ROLLED_BACK_TAG not in known.tags
    ]
    others = {alias: version for alias, version in model.aliases.items() if alias not in {LIVE, PREVIOUS}}
    return others | {LIVE: target.registry_version} | ({PREVIOUS: older[0]} if older else {})
