"""Withdrawal: a model is taken out of service, on every replica; its versions go to the archive, its records stay.

withdraw("digits-onnx", load_environment(), force=True)
"""

from blocks.environment import Environment
from blocks.errors import ForeignModel, InvalidInput, NotRegistered, ServiceUnavailable
from blocks.labels import DEPLOY, LIVE, PREVIOUS
from blocks.run import get_owner, warn
from slipway.releases.dependencies import list_needed
from slipway.releases.journal import close_journal, ensure_open, read_open
from slipway.releases.lock import WAIT_S, model_lock
from slipway.releases.metadata import read_metadata
from slipway.releases.plan import ReleasePlan
from slipway.releases.receipt import read_receipt
from slipway.releases.serving_config import read_policy
from slipway.releases.settlement import is_left_to_settle, settle
from slipway.releases.withdrawn import Withdrawn, finish_withdrawal

_REMOVED = (LIVE, PREVIOUS, DEPLOY)


def withdraw(
    model_name: str,
    environment: Environment,
    *,
    force: bool = False,
    reason: str = "",
    leave_silent: bool = False,
    wait_s: float = WAIT_S,
) -> Withdrawn | None:
    """Take a model out of service under its lock, in one call; None where it is out of service already.

    What another run left of the model is settled first. Needs no Prefect server. Raises what `plan_withdrawal` and
    `carry_out` raise, `ReleaseInProgress` where another run has the lock for longer than `wait_s`.
    """
    with model_lock(model_name, environment.repository, wait_s=wait_s) as fence:
        fenced = fence.around(environment)
        if is_left_to_settle(model_name, fenced):
            settle(model_name, fenced)
        plan = plan_withdrawal(model_name, force=force, reason=reason, leave_silent=leave_silent, environment=fenced)
        return carry_out(plan, fenced) if plan is not None else None


def plan_withdrawal(
    model_name: str, *, force: bool = False, reason: str = "", leave_silent: bool = False, environment: Environment
) -> ReleasePlan | None:
    """Return the plan of taking a model out of service, None where nothing of it is in service any more.

    Raises `ForeignModel` where slipway has no record of it, `InvalidInput` where it is live and `force` is not given,
    where an ensemble calls it, or where somebody else's version lies among its own, `ServiceUnavailable` where a
    replica does not answer; with `leave_silent` that one is left to the reconciler, as long as another answers.
    """
    repository, fleet, owner = environment.repository, environment.fleet, get_owner()
    replicas = fleet.check(leave_silent)
    _require_ours(model_name, replicas, environment)
    begun = read_open(repository, model_name)
    if begun and (begun.plan.kind, begun.plan.flow_run_id) == ("withdrawal", owner):
        return begun.plan.model_copy(update={"epoch": environment.epoch})
    config = repository.read_config(model_name)
    policy, stored = read_policy(config), repository.list_stored(model_name)
    on_replicas = {version for address in replicas for version in fleet.list_ready_versions(address, model_name)}
    aliases = _read_aliases(model_name, policy, environment)
    if not (config or stored or on_replicas or {LIVE, PREVIOUS} & aliases.keys()):
        return None
    if foreign := [version for version in stored if version not in repository.list_recorded(model_name)]:
        raise InvalidInput(
            f"model '{model_name}': versions {foreign} lie where Triton reads and slipway never released them, "
            "expected its own alone: a replica that starts would serve them; move them elsewhere first"
        )
    _require_unneeded(model_name, environment)
    version = max(policy or tuple(on_replicas) or stored or (0,))
    registered = read_metadata(model_name, version, repository).registry_version or aliases.get(LIVE) or -version
    if policy and not force:
        raise InvalidInput(
            f"model '{model_name}': version {registered} (Triton {version}) is live on {len(replicas)} replicas, and "
            "its clients would get errors; take it out of service with force, or roll it back"
        )
    return ReleasePlan(
        model_name=model_name,
        kind="withdrawal",
        reason=reason or None,
        registry_version=registered,
        version=version,
        creates_version=False,
        already_live=False,
        flow_run_id=owner,
        epoch=environment.epoch,
        config_before=config,
        served_before=policy,
        aliases_before=aliases,
        aliases_after={alias: number for alias, number in aliases.items() if alias not in _REMOVED},
    )


def carry_out(plan: ReleasePlan, environment: Environment) -> Withdrawn:
    """Take a model out of service as planned, its lock held; from here on whoever comes next finishes it.

    Raises `InvalidInput` where an ensemble was released meanwhile that calls it.
    """
    ensure_open(environment.repository, plan)
    try:
        _require_unneeded(plan.model_name, environment)  # an ensemble's release looks at the journal, this at its notes
    except InvalidInput:
        close_journal(environment.repository, plan)
        raise
    return finish_withdrawal(plan, environment)


def _require_ours(model_name: str, replicas: list[str], environment: Environment) -> None:
    repository = environment.repository
    if repository.list_recorded(model_name):
        return
    where = [repository.store.address] if repository.is_foreign(model_name) else []
    where += [f"Triton {address}" for address in replicas if environment.fleet.list_ready_versions(address, model_name)]
    if where:
        raise ForeignModel(
            f"model '{model_name}': is in {' and '.join(where)}, and slipway has no record of releasing it, expected "
            "one of its own; adopt it first: nothing was touched"
        )
    raise InvalidInput(
        f"model '{model_name}': slipway has no record of it, and nothing of it is served; correct the name"
    )


def _require_unneeded(model_name: str, environment: Environment) -> None:
    needed = list_needed(environment.repository, model_name)
    callers = sorted({ensemble for ensembles in needed.values() for ensemble in ensembles})
    if callers:
        named = " and ".join(f"'{name}'" for name in callers)
        raise InvalidInput(
            f"model '{model_name}': versions {sorted(needed)} are called by {named}, expected nobody to need it; take "
            f"{named} out of service first, or release it without this model"
        )


def _read_aliases(model_name: str, policy: tuple[int, ...], environment: Environment) -> dict[str, int]:
    """Return the model's aliases; where MLflow does not answer, those that the live version was released with."""
    try:
        return environment.registry.get_aliases(model_name)
    except NotRegistered:
        return {}
    except ServiceUnavailable as error:
        warn(f"goes on without the registry, by what was recorded: {error}")
        receipt = read_receipt(environment.repository, model_name, max(policy)) if policy else None
        return receipt.aliases_after if receipt else {}
