"""Which version a rollback goes back to, and whether it can."""

from blocks.environment import Environment
from blocks.errors import InvalidInput, NoRollbackTarget, NotRegistered, ServiceUnavailable
from blocks.labels import LAST_ROLLBACK_TAG, LIVE, PREVIOUS
from blocks.registry import ModelRegistry, RegisteredModel
from blocks.repository import ModelRepository
from blocks.repository_layout import StoredVersions
from blocks.run import get_owner, warn
from slipway.releases.dependencies import require_needed
from slipway.releases.kept_settings import read_recorded
from slipway.releases.plan import ReleasePlan
from slipway.releases.receipt import read_receipt
from slipway.releases.released import Known, list_released
from slipway.releases.serving_config import read_policy


def plan_rollback(
    model_name: str,
    to: str = "alias:previous",
    *,
    reason: str = "",
    keep_archived: int = 5,
    environment: Environment,
) -> ReleasePlan:
    """Return the plan of a rollback; one that this flow run carried out already has nothing left to do.

    What is served stays served, but for what is newer than the target: that would outrank it. The policy says what is
    live, tags and receipts what was released: a version that MLflow has no more can be left, and gone back to.
    `previous` is to be the newest version older than the target that was released, not rolled back from, and is still
    stored, one that stays served before all others; nothing where there is none.

    Raises `NoRollbackTarget` where there is no version to go back to, where it was rolled back from itself, or where
    its files are gone, `InvalidInput` where an ensemble calls a version that would go.
    """
    registry, repository = environment.registry, environment.repository
    config = repository.read_config(model_name)
    served = read_policy(config)
    if config is None or not served:
        registry.get_model(model_name)  # a name nobody knows is said to be one
        raise NoRollbackTarget(f"model '{model_name}': nothing is live, so there is nothing to go back from")
    stored = repository.list_versions(model_name)
    try:
        model, tags = _look_up(registry, model_name), dict(registry.list_versions(model_name))
    except ServiceUnavailable as error:
        warn(f"goes on without the registry, by what was recorded: {error}")
        model, tags = _read_recorded(repository, model_name, max(served)), None
    released = list_released(tags, repository, model_name, stored)
    live = next((known for known in released if known.version == max(served)), None)
    if live is None:
        raise NoRollbackTarget(
            f"model '{model_name}': version {max(served)} is live, and nothing is recorded of its release; expected "
            "one that slipway released"
        )
    owner = get_owner()
    done = model.tags.get(LAST_ROLLBACK_TAG) == owner
    target = live if done else find_target(model, to, released, live)
    if not done:
        check_target(model_name, target, live, stored)
        if target.registry_version < 1 and target.version not in served:
            raise NoRollbackTarget(
                f"model '{model_name}' Triton version {target.version}: is not served, and MLflow does not know it, "
                "expected one that can be proven first; register it with `slipway publish` and release it"
            )
    plan = ReleasePlan(
        model_name=model_name,
        kind="rollback",
        reason=reason or None,
        registry_version=target.registry_version,
        version=target.version,
        creates_version=False,
        already_live=target == live,
        flow_run_id=owner,
        epoch=environment.epoch,
        keep_archived=keep_archived,
        config_before=config,
        settings=read_recorded(repository, model_name, target.version),
        settings_before=read_recorded(repository, model_name, live.version),
        served_before=served,
        also_serves=tuple(version for version in served if version < target.version),
        aliases_before=model.aliases,
        aliases_after=derive_aliases_back(model, target, released, stored, served),
    )
    require_needed(plan, repository)
    return plan


def _look_up(registry: ModelRegistry, model_name: str) -> RegisteredModel:
    """Return the model as the registry has it, without aliases and tags where it has it no more."""
    try:
        return registry.get_model(model_name)
    except NotRegistered:
        return RegisteredModel(name=model_name)


def _read_recorded(repository: ModelRepository, model_name: str, live: int) -> RegisteredModel:
    """Return the model with the aliases it had when its live version was released."""
    receipt = read_receipt(repository, model_name, live)
    return RegisteredModel(name=model_name, aliases=receipt.aliases_after if receipt else {})


def find_target(model: RegisteredModel, to: str, released: list[Known], live: Known) -> Known:
    """Return the version that `alias:NAME` or `version:N` means; `NoRollbackTarget` where it is none that was released.

    Args:
        model: the model with its aliases.
        to: what to go back to.
        released: every version that was released once, the newest first.
        live: the one among them that is live.
    """
    kind, _, value = to.partition(":")
    wanted = int(value) if kind == "version" else model.aliases.get(value)
    older = [known for known in released if known.version < live.version and known.marked is None]
    # the live version was live before with other settings, or MLflow forgot `previous`, or it names what is live
    unnamed = {None, live.registry_version}
    if kind == "alias" and value == PREVIOUS and older and unnamed & {wanted, older[0].registry_version}:
        return older[0]
    if wanted is None:
        others = [known.registry_version for known in released if known != live]
        raise NoRollbackTarget(
            f"model '{model.name}': has no alias '{value}', so there is nowhere to go back to; released before were "
            f"{others or 'no other versions'}{': name one as version:N' if others else ''}"
        )
    same = [known for known in released if known.registry_version == wanted]
    found = next((known for known in same if known.marked is None), next(iter(same), None))
    if found is None:
        raise NoRollbackTarget(
            f"model '{model.name}' version {wanted}: was never released, expected one that was; release it with "
            f"deploy-model and source version:{wanted}"
        )
    return found


def check_target(model_name: str, target: Known, live: Known, stored: StoredVersions) -> None:
    """Raise where a version cannot be gone back to: it was rolled back from, is newer, or its files are gone."""
    subject = f"model '{model_name}' version {target.registry_version}"
    if target.marked is not None:
        raise NoRollbackTarget(
            f"{subject}: was rolled back from at {target.marked}; name an older version, or release it anew with "
            "deploy-model"
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


def derive_aliases_back(
    model: RegisteredModel, target: Known, released: list[Known], stored: StoredVersions, served: tuple[int, ...] = ()
) -> dict[str, int]:
    """Return all aliases as they are to be; one of a version that the registry has no more is removed.

    `previous` goes to the newest older version that can be gone back to, one among `served` before all others.
    """
    if model.aliases.get(LIVE) == target.registry_version:
        return model.aliases
    usable = {*stored.repository, *stored.archive}
    older = [
        known
        for known in released
        if known.version < target.version and known.registry_version != target.registry_version
        if known.version in usable and known.marked is None and known.is_registered
    ]
    first = max(older, key=lambda known: (known.version in served, known.version), default=None)
    others = {alias: version for alias, version in model.aliases.items() if alias not in {LIVE, PREVIOUS}}
    live = {LIVE: target.registry_version} if target.is_registered else {}
    return others | live | ({PREVIOUS: first.registry_version} if first else {})
