"""The polling flow: what a webhook did not tell is told now, by the same event, and releases the same way.

find-missed-updates -> mlflow.model-version-alias.created -> deploy-model
"""

from typing import Any
from uuid import uuid4

from prefect import flow
from prefect.client.orchestration import SyncPrefectClient, get_client
from prefect.client.schemas.filters import (
    FlowFilter,
    FlowFilterName,
    FlowRunFilter,
    FlowRunFilterState,
    FlowRunFilterStateType,
)
from prefect.client.schemas.objects import TERMINAL_STATES

from blocks.environment import load_environment
from blocks.events import make_alias_event
from blocks.run import warn
from slipway.releases.alias_update import AliasUpdate
from tasks.polling.find_missed_updates import find_missed_updates

_PAGE = 200


@flow(name="poll-aliases", flow_run_name="poll aliases")
def poll_aliases() -> tuple[AliasUpdate, ...]:
    """Emit an event for each version that carries `deploy` and that no run has released or tried to.

    A version a run of deploy-model is waiting to release is left to it; a release that failed is left to people.
    """
    missed = find_missed_updates(registry=load_environment().registry)
    with get_client(sync_client=True) as client:
        awaited = _list_awaited(client) if missed else set()
        told = tuple(update for update in missed if (update.model_name, f"version:{update.version}") not in awaited)
        for update in told:
            event = make_alias_event(
                uuid4(),
                update.model_name,
                update.alias,
                update.version,
                set_at=update.set_at,
                found_by="poll",
                released=True,
            )
            client.request("POST", "/events", json=[event.model_dump(mode="json")]).raise_for_status()
            warn(f"'deploy' on {update.model_name} version {update.version} was missed")
    return told


def _list_awaited(client: SyncPrefectClient) -> set[tuple[str, str]]:
    """Return model and source of every run of deploy-model that has not ended."""
    ended = FlowRunFilterStateType(not_any_=list(TERMINAL_STATES))
    filters: dict[str, Any] = {
        "flow_filter": FlowFilter(name=FlowFilterName(any_=["deploy-model"])),
        "flow_run_filter": FlowRunFilter(state=FlowRunFilterState(type=ended)),
    }
    found: set[tuple[str, str]] = set()
    for offset in range(0, 100 * _PAGE, _PAGE):
        page = client.read_flow_runs(**filters, limit=_PAGE, offset=offset)
        found |= {(str(run.parameters.get("model_name")), str(run.parameters.get("source"))) for run in page}
        if len(page) < _PAGE:
            break
    return found
