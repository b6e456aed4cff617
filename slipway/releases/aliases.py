"""The aliases of a release: `live` names the released version, `previous` the one before it."""

from pydantic import BaseModel, ConfigDict, Field

from blocks.environment import Environment
from blocks.errors import NotRegistered, ReleaseTakenOver
from blocks.labels import LIVE, PREVIOUS
from blocks.registry import ModelRegistry
from blocks.repository import ModelRepository
from slipway.releases.attempts import Attempts
from slipway.releases.journal import require_open
from slipway.releases.metadata import read_metadata
from slipway.releases.plan import ReleasePlan
from slipway.releases.serving_config import read_policy

_LOOKS = 5


class AliasChange(BaseModel):
    """The aliases of a model before and after."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    before: dict[str, int]
    after: dict[str, int]
    dry_run: bool = Field(default=False, description="Whether the change was only worked out.")


def update(
    model_name: str, registry_version: int, plan: ReleasePlan | None, *, dry_run: bool, environment: Environment
) -> AliasChange:
    """Point `live` at a version and `previous` at the one that was live, or all aliases where a plan says.

    Running it again changes nothing: a version that is live already does not become its own rollback target. Where
    the model's lock was lost meanwhile, the aliases are put to what the policy of now says.
    """
    registry, repository = environment.registry, environment.repository
    before = registry.get_aliases(model_name)
    after = plan.aliases_after if plan else derive_aliases(before, registry_version, before.get(LIVE))
    if not dry_run:
        if plan:
            require_open(repository, plan)
        if after.get(LIVE) == registry_version:
            registry.require_version(model_name, registry_version)
        move_aliases(registry, repository, model_name, before, after)
    return AliasChange(before=before, after=after, dry_run=dry_run)


def derive_aliases(before: dict[str, int], registry_version: int, follows: int | None) -> dict[str, int]:
    """Return all aliases of a model as they are to be once a version is released.

    Args:
        before: all aliases.
        registry_version: what is released.
        follows: the version that served before, None where none did, or where the registry has it no more.
    """
    if before.get(LIVE) == registry_version:
        return before
    previous = follows if follows not in {None, registry_version} else before.get(PREVIOUS)
    others = {alias: version for alias, version in before.items() if alias not in {LIVE, PREVIOUS}}
    kept = {PREVIOUS: previous} if previous not in {None, registry_version} else {}
    return others | kept | {LIVE: registry_version}


def move_aliases(
    registry: ModelRegistry,
    repository: ModelRepository,
    model_name: str,
    before: dict[str, int],
    after: dict[str, int],
) -> None:
    """Bring `previous`, then `live`, from one state to another, and touch no other alias.

    MLflow sets an alias whatever it was: so the lock is looked at again afterwards, and where it was lost, the policy
    decides where the aliases belong.
    """
    moved = False
    try:
        for alias in (PREVIOUS, LIVE):
            if alias in after and before.get(alias) != after[alias]:
                registry.set_alias(model_name, alias, after[alias])
                moved = True
            elif alias in before and alias not in after:
                registry.remove_alias(model_name, alias)
                moved = True
        registry.require_fence()
    except ReleaseTakenOver:
        if moved:
            align_aliases(registry.behind(None), repository, model_name)
        raise


def bring_aliases(
    registry: ModelRegistry, repository: ModelRepository, model_name: str, wanted: dict[str, int]
) -> None:
    """Put `live` and `previous`, each by itself, to where they belong, or remove them; other aliases stay.

    A version that the registry has no more is reported and keeps the other alias from nothing.
    """
    attempts, now = Attempts(), registry.get_aliases(model_name)
    for alias in (PREVIOUS, LIVE):
        if now.get(alias) == wanted.get(alias):
            continue
        others = {other: version for other, version in now.items() if other != alias}
        with attempts.trying():
            after = others | ({alias: wanted[alias]} if alias in wanted else {})
            move_aliases(registry, repository, model_name, now, after)
    attempts.raise_first()


def align_aliases(registry: ModelRegistry, repository: ModelRepository, model_name: str) -> None:
    """Put `live` and `previous` to what the policy says now, looked at again until it stays the same."""
    for _ in range(_LOOKS):
        commit = repository.read_commit(model_name)
        wanted = _derive_from_policy(read_policy(commit.config if commit else None), repository, model_name)
        aliases = registry.get_aliases(model_name)
        for alias in (PREVIOUS, LIVE):
            if (version := wanted.get(alias)) == aliases.get(alias) or (alias == PREVIOUS and version is None):
                continue
            if version is None:
                registry.remove_alias(model_name, alias)
            elif _is_registered(registry, model_name, version):
                registry.set_alias(model_name, alias, version)
        now = repository.read_commit(model_name)
        if (now.etag if now else None) == (commit.etag if commit else None):
            return


def _derive_from_policy(served: tuple[int, ...], repository: ModelRepository, model_name: str) -> dict[str, int]:
    """Return the aliases of the served versions; `previous` only where another one is served beside the live one."""
    released = [read_metadata(model_name, version, repository).registry_version for version in reversed(served)]
    live = next(iter(released), None)
    others = [version for version in released[1:] if version not in {None, live}]
    found = {LIVE: live, PREVIOUS: next(iter(others), None)}
    return {alias: version for alias, version in found.items() if version is not None}


def _is_registered(registry: ModelRegistry, model_name: str, version: int) -> bool:
    try:
        registry.require_version(model_name, version)
    except NotRegistered:
        return False
    return True
