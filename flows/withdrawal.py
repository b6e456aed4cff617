"""The withdrawing flow: a model is taken out of service; its versions go to the archive, its records stay.

choose-withdrawal -> take-out
"""

from typing import Annotated

from prefect import flow
from prefect.client.schemas.objects import State
from prefect.states import Completed
from pydantic import BaseModel, ConfigDict, Field

from blocks.environment import RESULT_STORAGE
from blocks.names import ModelName
from flows.deployment import SilentReplicas
from flows.running.forms import with_form
from flows.running.hooks import settle_what_was_begun
from flows.running.turns import turn_of
from slipway.releases.plan import ReleasePlan
from slipway.releases.settlement import is_left_to_settle
from slipway.releases.withdrawn import Withdrawn
from tasks.deployment.settle_release import settle_release
from tasks.withdrawal.choose_withdrawal import choose_withdrawal
from tasks.withdrawal.take_out import take_out


class Withdrawal(BaseModel):
    """What a withdrawal did, or would do."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    plan: ReleasePlan | None = Field(description="None where nothing of the model was in service any more.")
    withdrawn: Withdrawn | None = None


@flow(
    name="withdraw-model",
    flow_run_name="withdraw {model_name}",
    result_storage=RESULT_STORAGE,
    result_serializer="json",
    on_cancellation=[settle_what_was_begun],
    on_crashed=[settle_what_was_begun],
)
@with_form()
def withdraw_model(
    model_name: ModelName,
    force: Annotated[bool, Field(description="Take it out though it is live: its clients get errors then.")] = False,
    reason: Annotated[str, Field(max_length=2000, description="Why; kept with the model.")] = "",
    dry_run: Annotated[bool, Field(description="Say what would be taken out of service, change nothing.")] = False,
    silent_replicas: SilentReplicas = "refuse",
) -> Withdrawal | State[Withdrawal]:
    """Take a model out of service on every replica; released again, or brought back from the archive, it serves again.

    A model that an ensemble calls stays in service. Once begun, a withdrawal is finished, never undone.
    """
    with turn_of(model_name) as environment:
        if not dry_run and is_left_to_settle(model_name, environment):
            settle_release(model_name=model_name, environment=environment)
        plan = choose_withdrawal(
            model_name=model_name,
            force=force or dry_run,
            reason=reason,
            leave_silent=silent_replicas == "leave",
            environment=environment,
        )
        if plan is None:
            message = f"model '{model_name}': nothing of it is in service, nothing was changed"
            return Completed(name="AlreadyWithdrawn", message=message, data=Withdrawal(plan=None))
        if dry_run:
            message = f"model '{model_name}': would take {list(plan.served_before)} off every replica and archive them"
            return Completed(name="DryRun", message=message, data=Withdrawal(plan=plan))
        return Withdrawal(plan=plan, withdrawn=take_out(plan=plan, environment=environment))
