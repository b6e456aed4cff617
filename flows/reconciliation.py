"""The reconciling flow: what serves is brought back to what is committed, and what cannot be is reported.

survey-models -> repair-model (each that drifted, its lock held) -> survey-models -> report-drift
"""

from typing import Annotated

from prefect import flow
from pydantic import BaseModel, ConfigDict, Field

from blocks.environment import Environment, load_environment
from blocks.errors import NotRegistered, ReleaseInProgress, ReleaseTakenOver, SlipwayError
from blocks.events import Happened, tell
from blocks.names import ModelName
from blocks.run import warn
from flows.running.forms import with_form
from slipway.releases.drift import Drift
from slipway.releases.lock import model_lock
from slipway.releases.plan import KeepArchived
from slipway.releases.settlement import settle
from slipway.releases.survey import Depth, ModelState
from tasks.reconciliation.repair_model import repair_model
from tasks.reconciliation.report_drift import report_drift
from tasks.reconciliation.survey_models import survey_models


class Reconciliation(BaseModel):
    """What was found, what was put right and what is left for people."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    models: int
    found: tuple[Drift, ...] = ()
    repaired: tuple[Drift, ...] = ()
    left: tuple[Drift, ...] = ()
    under_way: tuple[str, ...] = Field(default=(), description="Models left alone: a release of them is under way.")


@flow(name="reconcile-models", flow_run_name="reconcile models")
@with_form()
def reconcile_models(
    model_names: Annotated[list[ModelName] | None, Field(description="Only these models; all where left out.")] = None,
    dry_run: Annotated[bool, Field(description="Report what is other than it ought to be, change nothing.")] = False,
    keep_archived: KeepArchived = 5,
) -> Reconciliation:
    """Compare aliases, policy, files and replicas of every model; repair what is safe, report the rest.

    Releases go on meanwhile: a model that is being released is left alone.
    """
    environment, depth = load_environment(), Depth(keep_archived=keep_archived, tell_withdrawn=False)
    states = survey_models(
        model_names=tuple(model_names) if model_names else None, depth=depth, environment=environment
    )
    if dry_run:
        found = tuple(drift for state in states for drift in state.drift)
        outcome = Reconciliation(models=len(states), found=found, left=found)
    else:
        outcome = repair_all(states, keep_archived, environment)
    report_drift(repaired=outcome.repaired, left=outcome.left, dry_run=dry_run)
    if not (dry_run or model_names):
        tell(Happened.RECONCILED, None, models=outcome.models, repaired=len(outcome.repaired), left=len(outcome.left))
    return outcome


def repair_all(states: tuple[ModelState, ...], keep_archived: int, environment: Environment) -> Reconciliation:
    """Repair each model that drifted, under its lock, and say what became of all that was found."""
    after, under_way = {state.name: state for state in states}, []
    for state in states:
        if state.is_repairable:
            try:
                with model_lock(state.name, environment.repository, wait_s=0) as fence:
                    after[state.name] = repair_alone(state.name, keep_archived, fence.around(environment))
            except (ReleaseInProgress, ReleaseTakenOver):
                under_way.append(state.name)
                del after[state.name]
    found = tuple(drift for state in states for drift in state.drift)
    left = tuple(drift for state in after.values() for drift in state.drift)
    still = {_identify(drift) for drift in left}
    return Reconciliation(
        models=len(states),
        found=found,
        repaired=tuple(
            drift
            for state in states
            if state.is_repairable and state.name in after
            for drift in state.drift
            if _identify(drift) not in still
        ),
        left=left,
        under_way=tuple(under_way),
    )


def repair_alone(model_name: str, keep_archived: int, environment: Environment) -> ModelState:
    """Repair one model, its lock held: what was seen before that may have been a release half way."""
    depth = Depth(keep_archived=keep_archived, tell_withdrawn=False)
    try:
        settle(model_name, environment)
        (state,) = survey_models(model_names=(model_name,), depth=depth, environment=environment)
        if not state.is_repairable:
            return state
        repair_model(state=state, keep_archived=keep_archived, environment=environment)
    except ReleaseTakenOver:
        raise
    except SlipwayError as error:
        warn(f"model '{model_name}' was not repaired whole: {error}")
    try:
        (state,) = survey_models(model_names=(model_name,), depth=depth, environment=environment)
    except NotRegistered:  # what was repaired was all that was left of it
        return ModelState(name=model_name, aliases={}, policy=(), repository=(), archive=(), served={}, drift=())
    return state


def _identify(drift: Drift) -> tuple[str, str, str | None]:
    return drift.model_name, drift.kind, drift.address
