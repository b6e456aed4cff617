"""What a release where Git is the record commits: over which version which one, and who serves it."""

from pydantic import BaseModel, ConfigDict, Field

from blocks.errors import InvalidInput, NotRegistered
from blocks.fleet import TritonFleet
from blocks.registry import ModelRegistry, RegisteredVersion
from slipway.releases.fetched import FetchedModel
from slipway.releases.fetching import fetch
from slipway.releases.git_pointer import GitPointer, choose_version
from slipway.releases.git_release import GitRelease, Patience, Served, release
from slipway.releases.known_answers import are_told_apart, know_answers


class GitPlan(BaseModel):
    """What is to be committed for a model."""

    model_config = ConfigDict(frozen=True, extra="forbid", protected_namespaces=())

    model_name: str = Field(description="The model, or its server, as the file calls it.")
    served_as: str = Field(description="The model's name in Triton.")
    registered: RegisteredVersion
    before: int = Field(description="The version that is committed now.")
    subject: str = Field(description="Model, file and branch, for messages.")

    @property
    def version(self) -> int:
        """The registered version to commit."""
        return self.registered.version


def plan_commit(
    pointer: GitPointer, registry: ModelRegistry, *, source: str | None = None, served_as: str | None = None
) -> GitPlan:
    """Return what is to be committed; nothing is changed.

    Raises `NotRegistered` where the registry was asked and has no such version, `InvalidInput` where the version is
    older than what is committed and `source` does not name it itself, or the file has several names for the model.

    Args:
        pointer: the line that says the version.
        registry: where the model is registered.
        source: `alias:NAME` or `version:N`, None for the newest version.
        served_as: the model's name in Triton; None: what the file says, else the model's.
    """
    line, name = pointer.read(), pointer.model_name
    found = _find_version(registry, _choose_name(line.registered_as, name, "registered"), source)
    choose_version(line, found.version, source, pointer.subject)
    return GitPlan(
        model_name=name,
        served_as=served_as or _choose_name(line.served_as, name, "served"),
        registered=found,
        before=line.version,
        subject=pointer.subject,
    )


def carry_out(
    plan: GitPlan,
    fetched: FetchedModel,
    pointer: GitPointer,
    fleet: TritonFleet,
    registry: ModelRegistry,
    *,
    patience: Patience,
    owner: str = "",
) -> GitRelease:
    """Commit what was planned and return once every replica answers with it; else revert. See `git_release.release`.

    The answers that prove it are known before anything is committed.
    """
    on_gpu = any(fleet.computes_on_gpu(address, plan.served_as) for address in fleet.check())
    served = Served(fleet, plan.served_as, plan.version, know_answers(fetched, registry, on_gpu=on_gpu))
    told_apart = plan.before != plan.version and _is_told_apart(served, plan, registry)
    return release(pointer, plan.version, served, told_apart=told_apart, patience=patience, owner=owner)


def _is_told_apart(served: Served, plan: GitPlan, registry: ModelRegistry) -> bool:
    try:
        before = registry.get_version(plan.registered.model_name, plan.before)
        other = fetch(before, f"version:{plan.before}", registry)
    except NotRegistered:  # deleted since
        return False
    return are_told_apart(served.proof, other, registry)


def _find_version(registry: ModelRegistry, name: str, source: str | None) -> RegisteredVersion:
    if source is not None:
        return registry.resolve(name, source)
    newest = next(registry.list_versions(name), None)
    if newest is None:
        raise NotRegistered(
            f"model '{name}': the registry at {registry.tracking_uri} has no version of it; register one",
            model_name=name,
        )
    return registry.get_version(name, newest[0])


def _choose_name(found: set[str], model_name: str, what: str) -> str:
    if len(found) > 1:
        raise InvalidInput(
            f"model '{model_name}': its servers have it {what} as {', '.join(sorted(found))}, expected one name; call "
            "this once for each, with --model_name=NAME of the server"
        )
    return next(iter(found), model_name)
