"""What serves, since when, through which gates, from which training run, and what a rollback would do."""

from pydantic import BaseModel, ConfigDict, Field

from blocks.environment import Environment
from blocks.errors import InvalidInput
from blocks.labels import LIVE, PREVIOUS
from slipway.releases.receipt import Receipt, read_receipt
from slipway.releases.rollback_plan import plan_rollback
from slipway.releases.survey import Depth, ModelState, survey


class Explanation(BaseModel):
    """The live version of a model, explained."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    state: ModelState
    receipt: Receipt | None = Field(description="Of the release or rollback that made the version live.")
    rollback: str = Field(description="What rolling back would do.")


def explain_live(model_name: str, environment: Environment) -> Explanation:
    """Explain what a model serves now; `NotRegistered` where there is no such model."""
    environment.registry.model(model_name)
    (state,) = survey((model_name,), environment, Depth(compare_files=False))
    receipt = read_receipt(environment.repository, model_name, max(state.policy)) if state.policy else None
    return Explanation(state=state, receipt=receipt, rollback=_explain_rollback(model_name, environment))


def _explain_rollback(model_name: str, environment: Environment) -> str:
    try:
        plan = plan_rollback(model_name, environment=environment)
    except InvalidInput as error:
        return f"would change nothing: {error}"
    how = "without a reload" if plan.version in plan.served_before else "from the archive, proven first"
    return (
        f"to version {plan.registry_version} (Triton {plan.version}), {how}; version {plan.aliases_before[LIVE]} would "
        f"be marked, previous would be {plan.aliases_after.get(PREVIOUS, 'not set')}"
    )
