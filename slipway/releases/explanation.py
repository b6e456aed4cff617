"""What serves, since when, through which gates, from which training run, and what a rollback would do."""

from pydantic import BaseModel, ConfigDict, Field

from blocks.environment import Environment
from blocks.errors import InvalidInput
from blocks.labels import LIVE, PREVIOUS
from slipway.releases.kept_settings import read_kept
from slipway.releases.metadata import read_metadata
from slipway.releases.plan import ReleasePlan
from slipway.releases.receipt import Receipt, format_settings, read_receipt
from slipway.releases.rollback_plan import plan_rollback
from slipway.releases.serving_settings import ServingSettings
from slipway.releases.survey import Depth, ModelState, survey
from slipway.releases.withdrawn import Withdrawn, read_withdrawn


class Explanation(BaseModel):
    """The live version of a model, explained."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    state: ModelState
    receipt: Receipt | None = Field(description="Of the release or rollback that made the version live.")
    settings: ServingSettings = Field(description="What settings say, from the next release on.")
    rollback: str = Field(description="What rolling back would do.")
    withdrawn: Withdrawn | None = Field(default=None, description="When and why it was taken out of service.")


def explain_live(model_name: str, environment: Environment) -> Explanation:
    """Explain what a model serves now; `NotRegistered` where there is no such model."""
    environment.registry.get_model(model_name)
    (state,) = survey((model_name,), environment, Depth(compare_files=False))
    receipt = read_receipt(environment.repository, model_name, max(state.policy)) if state.policy else None
    return Explanation(
        state=state,
        receipt=receipt,
        settings=read_kept(environment.repository, model_name).now,
        rollback=_explain_rollback(model_name, environment),
        withdrawn=read_withdrawn(environment.repository, model_name) if state.withdrawn else None,
    )


def _explain_rollback(model_name: str, environment: Environment) -> str:
    try:
        plan = plan_rollback(model_name, environment=environment)
    except InvalidInput as error:
        return f"would change nothing: {error}"
    left = _find_left(plan, environment)
    marked = f"version {left}" if left != plan.registry_version else f"Triton version {plan.live_before}"
    return (
        f"to version {plan.registry_version} (Triton {plan.version}), {_explain_how(plan)}; {marked} would be marked, "
        f"previous would be {plan.aliases_after.get(PREVIOUS, 'not set')}"
    )


def _explain_how(plan: ReleasePlan) -> str:
    if plan.version not in plan.served_before:
        how = "from the archive, proven first"
    else:
        how = "without a reload" if plan.settings == plan.settings_before else "by a reload"
    back = f", with its settings of then ({format_settings(plan.settings)})"
    return how if plan.settings == plan.settings_before else f"{how}{back}"


def _find_left(plan: ReleasePlan, environment: Environment) -> int | None:
    """Return the version that a rollback leaves; where the registry has it no more, its alias is gone, too."""
    left = read_metadata(plan.model_name, max(plan.served_before), environment.repository).registry_version
    return left or plan.aliases_before.get(LIVE)
