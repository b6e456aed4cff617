"""Step 6, update-aliases: `live` moves to the released version, `previous` to the one before it."""

from prefect import task
from prefect.cache_policies import NO_CACHE
from pydantic import BaseModel, ConfigDict, Field

from blocks.names import ModelName
from blocks.registry import ModelRegistry
from tasks.deployment.attempts import Attempts

LIVE, PREVIOUS = "live", "previous"


class AliasChange(BaseModel):
    """The aliases of a model before and after."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    before: dict[str, int]
    after: dict[str, int]
    dry_run: bool = Field(default=False, description="Whether the change was only worked out.")


@task(name="update-aliases", task_run_name="update-aliases", cache_policy=NO_CACHE)
def update_aliases(
    model_name: ModelName,
    registry_version: int,
    dry_run: bool = False,
    after: dict[str, int] | None = None,
    *,
    registry: ModelRegistry,
) -> AliasChange:
    """Point `live` at a version and `previous` at the one that was live, or as `after`, all aliases, says.

    Running it again changes nothing: a version that is live already does not become its own rollback target.
    """
    before = registry.aliases(model_name)
    after = aliases_after_release(before, registry_version, before.get(LIVE)) if after is None else after
    if not dry_run:
        registry.version(model_name, registry_version)
        move_aliases(registry, model_name, before, after)
    return AliasChange(before=before, after=after, dry_run=dry_run)


def aliases_after_release(before: dict[str, int], registry_version: int, follows: int | None) -> dict[str, int]:
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


def bring_aliases(registry: ModelRegistry, model_name: str, wanted: dict[str, int]) -> None:
    """Put `live` and `previous`, each by itself, to where they belong, or remove them; other aliases stay.

    A version that the registry has no more is reported and keeps the other alias from nothing.
    """
    attempts, now = Attempts(), registry.aliases(model_name)
    for alias in (PREVIOUS, LIVE):
        with attempts.trying():
            others = {other: version for other, version in now.items() if other != alias}
            move_aliases(registry, model_name, now, others | ({alias: wanted[alias]} if alias in wanted else {}))
    attempts.raise_first()


def move_aliases(registry: ModelRegistry, model_name: str, before: dict[str, int], after: dict[str, int]) -> None:
    """Bring `previous`, then `live`, from one state to another, and touch no other alias."""
    for alias in (PREVIOUS, LIVE):
        if alias in after and before.get(alias) != after[alias]:
            registry.set_alias(model_name, alias, after[alias])
        elif alias in before and alias not in after:
            registry.remove_alias(model_name, alias)
