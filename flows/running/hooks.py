"""What happens when a run of a flow that changes a model ends badly; Prefect asks for exactly these argument names."""

from typing import Any

from prefect.client.schemas.objects import FlowRun, State
from prefect.flows import Flow

from blocks.environment import load_environment
from blocks.events import Happened, tell
from flows.running.defaults import load_defaults
from slipway.releases.journal import read_open
from slipway.releases.lock import model_lock
from slipway.releases.settlement import settle
from slipway.releases.workspace import remove_leftovers

_DEFAULT_MODEL = load_defaults().deploy_model.model_name


def settle_what_was_begun(flow: Flow[Any, Any], flow_run: FlowRun, state: State) -> None:  # noqa: ARG001
    """Undo, or finish, what a cancelled or crashed run began."""
    remove_leftovers()
    model_name, environment = _get_model_name(flow_run), load_environment()
    begun = read_open(environment.repository, model_name)
    if begun is not None and begun.plan.flow_run_id == str(flow_run.id):
        with model_lock(model_name, environment.repository, owner=str(flow_run.id)) as fence:
            settle(model_name, fence.around(environment), only_flow_run_id=begun.plan.flow_run_id)


def tell_failure(flow: Flow[Any, Any], flow_run: FlowRun, state: State) -> None:  # noqa: ARG001
    """Emit that a release failed."""
    tell(Happened.RELEASE_FAILED, _get_model_name(flow_run), reason=state.message)


def _get_model_name(flow_run: FlowRun) -> str:
    return str(flow_run.parameters.get("model_name", _DEFAULT_MODEL))
