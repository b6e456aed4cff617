"""The rollback flow: back to a version that was live before, in a fraction of a second where it is still loaded.

choose-target -+-> switch-replicas -+-> finish-rollback
               +-> update-aliases  -+
               (from the archive: the steps of deploy-model)
"""

import time
from typing import Annotated, Any, cast

from prefect import flow
from prefect.client.schemas.objects import State
from prefect.futures import PrefectFuture, wait
from prefect.states import Completed
from prefect.task_runners import TaskRunner, ThreadPoolTaskRunner
from pydantic import BaseModel, ConfigDict, Field

from blocks.environment import RESULT_STORAGE, Environment
from blocks.errors import NotRegistered, ServiceUnavailable
from blocks.names import ModelName, Source
from blocks.run import say, warn
from flows.deployment import DEFAULTS, SilentReplicas, carry_out
from flows.running.forms import with_form
from flows.running.hooks import settle_what_was_begun
from flows.running.turns import journaled, turn_of
from slipway.releases.plan import KeepArchived, ReleasePlan
from slipway.releases.receipt import Receipt
from slipway.releases.release import Release, Terms
from slipway.releases.settlement import is_left_to_settle
from slipway.releases.switch import is_resident
from tasks.deployment.fetch_model import fetch_model
from tasks.deployment.prepare_artifacts import prepare_artifacts
from tasks.deployment.settle_release import settle_release
from tasks.deployment.update_aliases import update_aliases
from tasks.rollback.choose_target import choose_target
from tasks.rollback.finish_rollback import finish_rollback
from tasks.rollback.switch_replicas import switch_replicas


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
@with_form()
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
    terms = Terms(tolerance=DEFAULTS.tolerance, leave_silent=silent_replicas == "leave")
    with turn_of(model_name) as environment:
        if is_left_to_settle(model_name, environment):
            settle_release(model_name=model_name, environment=environment)
        plan = choose_target(
            model_name=model_name, to=to, reason=reason, keep_archived=keep_archived, environment=environment
        )
        if plan.already_live:
            message = f"model '{model_name}': version {plan.registry_version} is live, nothing was changed"
            return Completed(name="AlreadyLive", message=message, data=Rollback(plan=plan))
        if is_resident(plan, environment.repository):
            return switch(plan, terms, environment, start)
        return bring_back(plan, terms, environment, start)


def switch(plan: ReleasePlan, terms: Terms, environment: Environment, start: float) -> Rollback:
    """Go back to a version that is still loaded; undone when anything fails before it is proven."""
    with journaled(plan, environment):
        moving: Any = update_aliases.submit(
            model_name=plan.model_name, registry_version=plan.registry_version, plan=plan, environment=environment
        )
        switching: Any = switch_replicas.submit(plan=plan, terms=terms, environment=environment)
        wait([switching])
        proven_s = time.perf_counter() - start
        wait([moving])
        replicas = switching.result()
        _leave_aliases_to_completion(moving)
    say(f"rolled back and proven on {len(replicas)} replicas in {proven_s:.2f} s")
    receipt = finish_rollback(plan=plan, replicas=replicas, environment=environment)
    return Rollback(plan=plan, proven_s=proven_s, receipt=receipt)


def bring_back(plan: ReleasePlan, terms: Terms, environment: Environment, start: float) -> Rollback:
    """Go back to a version from the archive, by the steps of a release."""
    fetched = fetch_model(
        model_name=plan.model_name, source=f"version:{plan.registry_version}", registry=environment.registry
    )
    artifacts = prepare_artifacts(fetched=fetched, plan=plan, terms=terms)
    released = carry_out(Release(fetched=fetched, plan=plan, artifacts=artifacts), terms, environment)
    return Rollback(plan=plan, proven_s=time.perf_counter() - start, receipt=released.receipt)


def _leave_aliases_to_completion(moving: PrefectFuture[Any]) -> None:
    """Take note of how the aliases moved: MLflow being down undoes no rollback, whoever completes it moves them."""
    try:
        moving.result()
    except (ServiceUnavailable, NotRegistered) as error:
        warn(f"the aliases are left to the rollback's completion: {error}")
