"""The reconciling flow: what serves is brought back to what is committed, and what cannot be is reported.

survey-models -> repair-model (each that drifted, its lock held) -> survey-models -> report-drift
"""

from typing import Annotated

from prefect import flow, get_run_logger
from pydantic import BaseModel, ConfigDict, Field

from blocks.environment import Environment, load_environment
from blocks.errors import ReleaseInProgress, ReleaseTakenOver, SlipwayError
from blocks.events import Happened, tell
from blocks.names import ModelName
from flows.running.forms import described
from slipway.releases.lock import model_lock
from slipway.releases.planning import KeepArchived
from slipway.releases.repair import repair_model, settle
from slipway.releases.survey import Depth, Drift, Kind, ModelState, survey_models
from tasks.reconciliation.report import report_drift


class Reconciliation(BaseModel):
    """What was found, what was put right and what is left for people."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    models: int
    found: tuple[Drift, ...] = ()
    repaired: tuple[Drift, ...] = ()
    left: tuple[Drift, ...] = ()
    under_way: tuple[str, ...] = Field(default=(), description="Models left alone: a release of them is under way.")


@flow(name="reconcile-models", flow_run_name="reconcile models")
@described
def reconcile_models(
    model_names: Annotated[list[ModelName] | None, Field(description="Only these models; all where left out.")] = None,
    dry_run: Annotated[bool, Field(description="Report what is other than it ought to be, change nothing.")] = False,
    keep_archived: KeepArchived = 5,
) -> Reconciliation:
    """Compare aliases, policy, files and replicas of every model; repair what is safe, report the rest.

    Releases go on meanwhile: a model that is being released is left alone.
    """
    environment, depth = load_environment(), Depth(keep_archived=keep_archived)
    states = survey_models(tuple(model_names) if model_names else None, depth, **environment._asdict())
    drifted = [state for state in states if state.drift]
    found = tuple(drift for state in drifted for drift in state.drift)
    if dry_run:
        outcome = Reconciliation(models=len(states), found=found, left=found)
    else:
        after, under_way = _repaired([state for state in drifted if _repairable(state)], depth, environment)
        untouched = {state.name: state for state in drifted if not _repairable(state)} | after
        left = tuple(drift for state in untouched.values() for drift in state.drift)
        outcome = Reconciliation(
            models=len(states),
            found=found,
            repaired=tuple(drift for drift in found if drift.model_name in after and not _is_in(drift, left)),
            left=left,
            under_way=tuple(under_way),
        )
    report_drift(outcome.repaired, outcome.left, dry_run=dry_run)
    if not (dry_run or model_names):
        tell(Happened.RECONCILED, None, models=outcome.models, repaired=len(outcome.repaired), left=len(outcome.left))
    return outcome


def _repaired(
    states: list[ModelState], depth: Depth, environment: Environment
) -> tuple[dict[str, ModelState], list[str]]:
    """Repair each model and return its state afterwards, and the names of those that are being released."""
    after, under_way = {}, []
    for state in states:
        try:
            with model_lock(state.name, environment.repository, wait_s=0) as fence:
                after[state.name] = _repaired_alone(state.name, depth, fence.around(environment))
        except (ReleaseInProgress, ReleaseTakenOver):
            under_way.append(state.name)
    return after, under_way


def _repaired_alone(model_name: str, depth: Depth, environment: Environment) -> ModelState:
    """Repair one model, its lock held: what was seen before that may have been a release half way."""
    try:
        settle(model_name, *environment)
        (state,) = survey_models((model_name,), depth, **environment._asdict())
        if not _repairable(state):
            return state
        repair_model(state, depth.keep_archived, **environment._asdict())
    except ReleaseTakenOver:
        raise
    except SlipwayError as error:
        get_run_logger().warning("model '%s' was not repaired whole: %s", model_name, error)
    (state,) = survey_models((model_name,), depth, **environment._asdict())
    return state


def _repairable(state: ModelState) -> bool:
    return any(drift.kind.is_safe_to_repair for drift in state.drift)


def _is_in(drift: Drift, left: tuple[Drift, ...]) -> bool:
    key: tuple[str, Kind, str | None] = (drift.model_name, drift.kind, drift.address)
    return key in {(other.model_name, other.kind, other.address) for other in left}
