"""What serves, since when, through which gates, from which training run, and what a rollback would do."""

from pydantic import BaseModel, ConfigDict, Field

from blocks.errors import InvalidInput
from blocks.fleet import TritonFleet
from blocks.names import ModelName
from blocks.registry import ModelRegistry
from blocks.repository import ModelRepository
from slipway.releases.aliases import LIVE
from slipway.releases.receipt import Receipt, read_receipt
from slipway.releases.rollback_plan import choose_target
from slipway.releases.survey import Depth, ModelState, survey_models


class Explanation(BaseModel):
    """The live version of a model, explained."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    state: ModelState
    receipt: Receipt | None = Field(description="Of the release or rollback that made the version live.")
    rollback: str = Field(description="What rolling back would do.")


def explain_live(
    model_name: ModelName, *, registry: ModelRegistry, repository: ModelRepository, fleet: TritonFleet
) -> Explanation:
    """Explain what a model serves now; `NotRegistered` where there is no such model."""
    registry.model(model_name)
    (state,) = survey_models.fn(
        (model_name,), Depth(compare_files=False), registry=registry, repository=repository, fleet=fleet
    )
    receipt = read_receipt(repository, model_name, max(state.policy)) if state.policy else None
    return Explanation(state=state, receipt=receipt, rollback=_rollback(model_name, registry, repository))


def _rollback(model_name: str, registry: ModelRegistry, repository: ModelRepository) -> str:
    try:
        plan = choose_target.fn(model_name, registry=registry, repository=repository)
    except InvalidInput as error:
        return f"would change nothing: {error}"
    how = "without a reload" if plan.version in plan.served_before else "from the archive, proven first"
    return (
        f"to version {plan.registry_version} (Triton {plan.version}), {how}; version {plan.aliases_before[LIVE]} would "
        f"be marked, previous would be {plan.aliases_after.get('previous', 'not set')}"
    )
