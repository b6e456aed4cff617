"""Runs of the flows' deployments, waited for, for the target slipway."""

import json
from typing import Any
from urllib.parse import urlsplit

from prefect.client.orchestration import SyncPrefectClient, get_client
from prefect.client.schemas.filters import FlowFilter, FlowFilterName
from prefect.deployments import run_deployment
from prefect.settings import get_current_settings

from blocks.errors import InvalidInput, StepCancelled, StepFailed
from blocks.run import make_artifact_key


def run_and_wait(target_uri: str, flow: str, parameters: dict[str, Any]) -> dict[str, str]:
    """Run a flow's deployment to its end; return, and print, the addresses of its run and its receipt.

    Raises `InvalidInput` where there is no such deployment, or none of the name that the target says, `StepFailed`
    where the run fails, `StepCancelled` where it is cancelled.
    """
    with get_client(sync_client=True) as client:
        name = choose_deployment(target_uri, flow, _list_deployments(client, flow))
    run: Any = run_deployment(f"{flow}/{name}", parameters=parameters, timeout=None, as_subflow=False)
    pages = (get_current_settings().ui_url or "").rstrip("/")
    link = f"{pages}/runs/flow-run/{run.id}"
    if run.state.is_cancelled():
        raise StepCancelled(f"{flow}/{name}: was cancelled; see {link}")
    if not run.state.is_completed():
        raise StepFailed(f"{flow}/{name}: ended as {run.state.name} ({run.state.message}); see {link}")
    links = {"run": link, "receipt": f"{pages}/artifacts/key/{make_artifact_key('receipt', parameters['model_name'])}"}
    for what, address in links.items():
        print(f"{what}: {address}")  # noqa: T201, as NVIDIA's plugin says where it saved what
    return links


def choose_deployment(target_uri: str, flow: str, names: list[str]) -> str:
    """Return the deployment of a flow that a target URI means: `slipway:/NAME`, or the only one."""
    parts = urlsplit(target_uri)
    wanted = (parts.netloc + parts.path).strip("/") if parts.scheme else ""
    if wanted in names:
        return wanted
    if not wanted and len(names) == 1:
        return names[0]
    known = ", ".join(names) or "none"
    raise InvalidInput(
        f"target {target_uri!r}: flow {flow} has the deployments {known}, expected "
        f"{wanted or 'one'}; apply it (`slipway setup`), or name one, say -t slipway:/{names[0] if names else 'local'}"
    )


def read_parameters(config: dict[str, Any]) -> dict[str, Any]:
    """Return options as parameters of a flow: what is JSON as what it says, all else as text."""
    return {name: _read(value) for name, value in config.items() if name not in {"model_name", "source"}}


def _read(value: Any) -> Any:
    try:
        return json.loads(value)
    except (TypeError, ValueError):
        return value


def _list_deployments(client: SyncPrefectClient, flow: str) -> list[str]:
    found = client.read_deployments(flow_filter=FlowFilter(name=FlowFilterName(any_=[flow])))
    return sorted(deployment.name for deployment in found)
