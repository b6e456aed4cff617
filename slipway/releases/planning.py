"""Planning a release: the number it gets in the model repository, and all that was before it."""

from blocks.environment import Environment
from blocks.errors import ForeignModel, NotRegistered, VersionConflict
from blocks.labels import LIVE, PREVIOUS
from blocks.repository import ModelRepository
from blocks.repository_layout import StoredVersions
from blocks.run import get_owner
from slipway.releases.aliases import derive_aliases
from slipway.releases.companions import leave_strangers
from slipway.releases.dependencies import list_needed, require_needed
from slipway.releases.fetched import FetchedModel
from slipway.releases.journal import read_open
from slipway.releases.kept_settings import read_kept, read_recorded
from slipway.releases.metadata import read_metadata
from slipway.releases.plan import ReleasePlan
from slipway.releases.proven_config import read_author_config
from slipway.releases.released import list_released
from slipway.releases.served_versions import choose_older
from slipway.releases.serving_config import read_policy


def plan_release(
    fetched: FetchedModel,
    *,
    force_version: int | None,
    keep_archived: int,
    leave_silent: bool,
    keep_served: int = 2,
    also_serve: tuple[int, ...] = (),
    environment: Environment,
) -> ReleasePlan:
    """Return the plan of a release: the next version number, or the forced one, and the state before.

    What is live already gets a number of its own again where other settings are to be served: a release like any other.
    A release this flow run began and did not finish goes on with the plan it had. Raises `VersionConflict` where
    the forced version exists with other content, `ForeignModel` where a model of that name is there that slipway never
    released, `InvalidInput` where a version that is to be served beside it cannot be, `ServiceUnavailable` where a
    replica does not answer.

    Args:
        fetched: what is to be released.
        force_version: its number in the repository; the next free one where left out.
        keep_archived: how many archived versions stay.
        leave_silent: pass over replicas that do not answer, as long as one does.
        keep_served: how many versions are served afterwards, the new one included.
        also_serve: registry versions that are served beside it, whatever `keep_served` says.
        environment: where aliases, versions, policy and replicas are.
    """
    repository, fleet = environment.repository, environment.fleet
    name, replicas, owner = fetched.model_name, fleet.check(leave_silent), get_owner()
    _require_ours(name, replicas, environment)
    begun = read_open(repository, name)
    if begun and (begun.plan.registry_version, begun.plan.flow_run_id) == (fetched.registered.version, owner):
        return begun.plan.model_copy(update={"epoch": environment.epoch})
    stored, config = repository.list_versions(name), repository.read_config(name)
    served, aliases = read_policy(config), environment.registry.get_aliases(name)
    live = max(served, default=None)
    settings, settings_before = read_kept(repository, name).now, read_recorded(repository, name, live)
    is_reset = settings != settings_before
    is_live = aliases.get(LIVE) == fetched.registered.version and _holds(repository, live, fetched)
    if live is not None and is_live and (force_version == live or (force_version is None and not is_reset)):
        version, exists = live, True
    else:
        version, exists = _choose_number(fetched, force_version, stored, repository)
    older = _choose_older(fetched, version, stored, config, keep_served, also_serve, environment)
    is_served = version == live and set(older) <= set(served)
    plan = ReleasePlan(
        model_name=name,
        registry_version=fetched.registered.version,
        version=version,
        creates_version=not exists,
        already_live=is_live and is_served and all(fleet.is_ready(r, name, version) for r in replicas),
        flow_run_id=owner,
        epoch=environment.epoch,
        keep_archived=keep_archived,
        config_before=config,
        author_config_before=read_author_config(repository, name, live) if live is not None else None,
        settings=settings,
        settings_before=settings_before,
        served_before=served,
        also_serves=older,
        live_leaves=live is not None and live < version and live not in older,
        aliases_before=aliases,
        aliases_after=_derive_aliases(fetched, aliases, version, live, older, environment),
    )
    require_needed(plan, repository)
    return plan


def _choose_number(
    fetched: FetchedModel, force_version: int | None, stored: StoredVersions, repository: ModelRepository
) -> tuple[int, bool]:
    """Return the number of a release, and whether its files are stored under it already."""
    if force_version is None:
        return repository.find_next_version(fetched.model_name, stored), False
    if force_version not in (*stored.repository, *stored.archive):
        return force_version, False
    if not _holds(repository, force_version, fetched):
        raise VersionConflict(
            f"model '{fetched.model_name}' version {force_version} in {repository.store.address}: exists with other "
            f"content than registry version {fetched.registered.version}; a version is never overwritten: "
            "choose another force_version or leave it out"
        )
    return force_version, True


def _choose_older(
    fetched: FetchedModel,
    version: int,
    stored: StoredVersions,
    config: str | None,
    keep_served: int,
    also_serve: tuple[int, ...],
    environment: Environment,
) -> tuple[int, ...]:
    """Return the older versions to serve, those that other models call among them."""
    model_name, served, repository = fetched.model_name, read_policy(config), environment.repository
    needed = {older for older in list_needed(repository, model_name) if older in served and older < version}
    released = list_released(dict(environment.registry.list_versions(model_name)), repository, model_name, stored)
    chosen = choose_older(
        model_name,
        version,
        served=served,
        released=released,
        stored=stored,
        keep_served=keep_served,
        also_serve=also_serve,
    )
    before = {live for live in served[-1:] if keep_served > 1 and live < version}
    asked = {known.version for known in released if known.registry_version in also_serve}
    kept = tuple(sorted({*chosen, *needed, *before}))
    return leave_strangers(fetched, kept, asked=asked, needed=needed, config=config, repository=repository)


def _derive_aliases(
    fetched: FetchedModel,
    before: dict[str, int],
    version: int,
    live: int | None,
    older: tuple[int, ...],
    environment: Environment,
) -> dict[str, int]:
    """Return all aliases after a release; `previous` is one that is served, where one is beside it."""
    name, newest = fetched.model_name, max(older, default=None)
    follows = live if live is None or live < version or newest is None else newest
    after = derive_aliases(before, fetched.registered.version, _find_registered(name, follows, environment))
    if live != version or newest is None:
        return after
    *_, found = beside = [_find_registered(name, each, environment) for each in older]
    return after if after.get(PREVIOUS) in beside or found is None else after | {PREVIOUS: found}


def _require_ours(model_name: str, replicas: list[str], environment: Environment) -> None:
    """Raise `ForeignModel` where a model of this name is stored or served, and slipway has no record of it."""
    repository, fleet = environment.repository, environment.fleet
    if repository.list_recorded(model_name):
        return
    where = [repository.store.address] if repository.is_foreign(model_name) else []
    where += [f"Triton {address}" for address in replicas if fleet.list_ready_versions(address, model_name)]
    if where:
        raise ForeignModel(
            f"model '{model_name}': is in {' and '.join(where)} already, and slipway has no record of releasing it, "
            "expected a free name or a model of its own; adopt it first, or register yours under another name: nothing "
            "was touched"
        )


def _find_registered(model_name: str, live: int | None, environment: Environment) -> int | None:
    """Return the registry version of what is served, None where nothing is or the registry has it no more."""
    if live is None:
        return None
    version = read_metadata(model_name, live, environment.repository).registry_version
    try:
        if version is not None:
            environment.registry.require_version(model_name, version)
    except NotRegistered:
        return None
    return version


def _holds(repository: ModelRepository, version: int | None, fetched: FetchedModel) -> bool:
    recorded = read_metadata(fetched.model_name, version, repository).digests if version is not None else None
    return recorded == {file.name: file.sha256 for file in fetched.files}
