"""Step 2, determine-version: the number a release gets in the model repository, and all that was before it."""

from typing import Annotated

from prefect import runtime, task
from prefect.cache_policies import NO_CACHE
from pydantic import Field

from blocks.errors import ForeignModel, NotRegistered, VersionConflict
from blocks.fleet import TritonFleet
from blocks.registry import ModelRegistry
from blocks.repository import ModelRepository
from slipway.releases.aliases import aliases_after_release
from slipway.releases.fetching import FetchedModel
from slipway.releases.journal import open_entry
from slipway.releases.lock import this_owner
from slipway.releases.metadata import recorded_digests, registry_version
from slipway.releases.plan import ReleasePlan
from slipway.releases.serving_config import served_versions

# Triton reads directory names with stoll and aborts on numbers that do not fit.
MAX_VERSION = 999_999_999
ForcedVersion = Annotated[
    int | None,
    Field(ge=1, le=MAX_VERSION, description="Version number in the repository; the next free one where left out."),
]
KeepArchived = Annotated[
    int, Field(ge=0, le=10_000, description="How many archived versions stay; one with an alias always does.")
]


@task(name="determine-version", task_run_name="determine-version", cache_policy=NO_CACHE)
def determine_version(
    fetched: FetchedModel,
    force_version: ForcedVersion = None,
    keep_archived: KeepArchived = 5,
    leave_silent: bool = False,
    epoch: int = 0,
    *,
    registry: ModelRegistry,
    repository: ModelRepository,
    fleet: TritonFleet,
) -> ReleasePlan:
    """Return the plan of a release: the next version number, or the forced one, and the state before.

    A release this flow run began and did not finish goes on with the plan it had. Raises `VersionConflict` where
    the forced version exists with other content, `ForeignModel` where a model of that name is there that slipway never
    released, `ServiceUnavailable` where a replica does not answer.

    Args:
        fetched: what is to be released.
        force_version: its number in the repository; the next free one where left out.
        keep_archived: how many archived versions stay.
        leave_silent: pass over replicas that do not answer, as long as one does.
        epoch: of the model's lock, held by the caller; 0 where it is taken later.
        registry: where the aliases are.
        repository: where versions and policy are.
        fleet: the replicas.
    """
    replicas, owner = fleet.check(leave_silent), this_owner()
    _require_ours(fetched.model_name, repository, fleet, replicas)
    begun = open_entry(repository, fetched.model_name)
    if begun and begun.plan.registry_version == fetched.registered.version and begun.plan.flow_run_id == owner:
        return begun.plan.model_copy(update={"epoch": epoch})
    config = repository.read_config(fetched.model_name)
    aliases = registry.aliases(fetched.model_name)
    served = served_versions(config)
    live = max(served, default=None)
    is_live = aliases.get("live") == fetched.registered.version and _holds(repository, live, fetched)
    version, exists = (live, True) if is_live and force_version in {None, live} else (force_version, False)
    stored = repository.versions(fetched.model_name)
    if version is None:
        version = repository.next_version(fetched.model_name)
    elif not exists and version in (*stored.repository, *stored.archive):
        exists = _checked_same(repository, version, fetched)
    return ReleasePlan(
        model_name=fetched.model_name,
        registry_version=fetched.registered.version,
        version=version,
        creates_version=not exists,
        already_live=is_live
        and version == live
        and all(fleet.is_ready(r, fetched.model_name, version) for r in replicas),
        flow_run_id=owner,
        epoch=epoch,
        keep_archived=keep_archived,
        config_before=config,
        served_before=served,
        aliases_before=aliases,
        aliases_after=aliases_after_release(
            aliases, fetched.registered.version, _followed(registry, repository, fetched.model_name, live)
        ),
    )


def _require_ours(model_name: str, repository: ModelRepository, fleet: TritonFleet, replicas: list[str]) -> None:
    """Raise `ForeignModel` where a model of this name is stored or served, and slipway has no record of it."""
    if repository.recorded_versions(model_name):
        return
    where = [repository.store.address] if repository.is_foreign(model_name) else []
    where += [f"Triton {address}" for address in replicas if fleet.ready_versions(address, model_name)]
    if where:
        raise ForeignModel(
            f"model '{model_name}': is in {' and '.join(where)} already, and slipway has no record of releasing it, "
            "expected a free name or a model of its own; adopt it first, or register yours under another name: nothing "
            "was touched"
        )


def _followed(registry: ModelRegistry, repository: ModelRepository, model_name: str, live: int | None) -> int | None:
    """Return the registry version of what is live, None where nothing is or the registry has it no more."""
    version = registry_version(model_name, live, repository) if live is not None else None
    try:
        return registry.version(model_name, version).version if version is not None else None
    except NotRegistered:
        return None


def _checked_same(repository: ModelRepository, version: int, fetched: FetchedModel) -> bool:
    if not _holds(repository, version, fetched):
        raise VersionConflict(
            f"model '{fetched.model_name}' version {version} in {repository.store.address}: exists with other content "
            f"than registry version {fetched.registered.version}; a version is never overwritten: "
            "choose another force_version or leave it out"
        )
    return True


def _holds(repository: ModelRepository, version: int | None, fetched: FetchedModel) -> bool:
    recorded = recorded_digests(fetched.model_name, version, repository) if version is not None else None
    return recorded == {file.name: file.sha256 for file in fetched.files}


def flow_run_id() -> str:
    """Return the flow run this is, 'shell' outside of one."""
    return runtime.flow_run.id or "shell"
