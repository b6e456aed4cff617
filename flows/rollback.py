"""The rollback flow: back to a version that was live before, in a fraction of a second where it is still loaded.

choose-target -+-> switch-replicas -+-> finish-release
               +-> update-aliases  -+
               (from the archive: the steps of deploy-model)
"""

import time
from typing import Annotated, Any, cast

from prefect import flow, get_run_logger
from prefect.client.schemas.objects import State
from prefect.futures import PrefectFuture, wait
from prefect.states import Completed
from prefect.task_runners import TaskRunner, ThreadPoolTaskRunner
from pydantic import BaseModel, ConfigDict, Field

from blocks.environment import RESULT_STORAGE, Environment, load_environment
from blocks.errors import NotRegistered, ReleaseTakenOver, ServiceUnavailable
from blocks.names import ModelName, Source
from flows.deployment import (
    DEFAULTS,
    Options,
    SilentReplicas,
    release,
    settle_what_another_run_left,
    settle_what_was_begun,
)
from flows.running.forms import described
from flows.running.turns import turn_of
from slipway.releases.aliases import update_aliases
from slipway.releases.artifacts import prepare_artifacts
from slipway.releases.attempts import warn
from slipway.releases.completion import complete
from slipway.releases.fetching import fetch_model
from slipway.releases.journal import mark_proven, open_journal
from slipway.releases.plan import ReleasePlan
from slipway.releases.planning import KeepArchived
from slipway.releases.receipt import Receipt, renewed, show_receipt
from slipway.releases.rollback_plan import choose_target
from slipway.releases.settlement import settle_release
from slipway.releases.switch import is_resident, switch_replicas, with_latencies
from slipway.releases.workspace import private_workspace


class Rollback(BaseModel):
    """What a rollback did, and the proof of it."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    plan: ReleasePlan
    proven_s: float | None = Field(default=None, description="Seconds from the call to the last replica's proof.")
    receipt: Receipt | None = None


@flow(
    name="rollback-model",
    flow_run_name="roll back {model_name} to {to}",
    task_runner=cast(TaskRunner[PrefectFuture[Any]], ThreadPoolTaskRunner(max_workers=2)),
    result_storage=RESULT_STORAGE,
    result_serializer="json",
    on_cancellation=[settle_what_was_begun],
    on_crashed=[settle_what_was_begun],
)
@described
def rollback_model(
    model_name: ModelName = DEFAULTS.model_name,
    to: Source = "alias:previous",
    reason: Annotated[str, Field(max_length=2000, description="Why; kept with the version rolled back from.")] = "",
    silent_replicas: SilentReplicas = "leave",
    keep_archived: KeepArchived = 5,
) -> Rollback | State[Rollback]:
    """Go back to the previous version, or to any older one; the version left is marked and never gone back to.

    A version that is still served needs no reload; one from the archive is proven like a new release.
    """
    start = time.perf_counter()
    environment = load_environment()
    with private_workspace(), turn_of(model_name, environment.repository) as fence:
        environment = fence.around(environment)
        settle_what_another_run_left(model_name, environment)
        plan = choose_target(
            model_name,
            to,
            reason,
            keep_archived,
            fence.epoch,
            registry=environment.registry,
            repository=environment.repository,
        )
        if plan.already_live:
            message = f"model '{model_name}': version {plan.registry_version} is live, nothing was changed"
            return Completed(name="AlreadyLive", message=message, data=Rollback(plan=plan))
        leave = silent_replicas == "leave"
        if not is_resident(plan, environment.repository):
            receipt = _released_again(plan, Options(leave_silent=leave), environment)
            return Rollback(plan=plan, proven_s=time.perf_counter() - start, receipt=receipt)
        return _switched(plan, leave, start, environment)


def _switched(plan: ReleasePlan, leave_silent: bool, start: float, environment: Environment) -> Rollback:
    registry, repository, fleet = environment
    try:
        open_journal(repository, plan)
        moving: Any = update_aliases.submit(
            plan.model_name,
            plan.registry_version,
            after=plan.aliases_after,
            registry=registry,
            repository=repository,
        )
        switching: Any = switch_replicas.submit(
            plan, DEFAULTS.tolerance, leave_silent, repository=repository, fleet=fleet
        )
        wait([moving, switching])
        replicas = switching.result()
        proven_s = time.perf_counter() - start
        _leave_to_completion(moving)
    except ReleaseTakenOver:
        raise
    except Exception:
        settle_release(plan.model_name, only_flow_run_id=plan.flow_run_id, **environment._asdict())
        raise
    get_run_logger().info("rolled back and proven on %d replicas in %.2f s", len(replicas), proven_s)
    receipt = renewed(plan, replicas, fleet.addresses(), repository)
    proven = mark_proven(repository, plan, receipt)
    receipt = with_latencies(receipt, plan, repository, fleet)
    complete(proven.model_copy(update={"receipt": receipt}), registry, repository)
    show_receipt(receipt)
    return Rollback(plan=plan, proven_s=proven_s, receipt=receipt)


def _leave_to_completion(moving: PrefectFuture[Any]) -> None:
    """Resolve the moving of aliases: MLflow being down undoes no rollback, whoever completes it moves them."""
    try:
        moving.result()
    except (ServiceUnavailable, NotRegistered) as error:
        warn(f"the aliases are left to the rollback's completion: {error}")


def _released_again(plan: ReleasePlan, options: Options, environment: Environment) -> Receipt | None:
    fetched = fetch_model(plan.model_name, f"version:{plan.registry_version}", registry=environment.registry)
    return release(fetched, plan, prepare_artifacts(fetched, plan), options, environment).receipt
