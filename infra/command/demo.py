"""Runs the training deployment as a user would, follows what its alias releases, and shows what is live.

Nobody calls deploy-model: MLflow's webhook does.
"""

import json
import time
from collections.abc import Iterable
from datetime import datetime
from typing import Any
from uuid import UUID

from prefect.client.orchestration import SyncPrefectClient, get_client
from prefect.client.schemas.filters import (
    ArtifactFilter,
    ArtifactFilterFlowRunId,
    ArtifactFilterKey,
    FlowFilter,
    FlowFilterName,
    FlowRunFilter,
    FlowRunFilterId,
    FlowRunFilterParentFlowRunId,
)
from prefect.client.schemas.objects import Artifact, FlowRun, TaskRun
from prefect.client.schemas.sorting import ArtifactSort, FlowRunSort, TaskRunSort
from rich.table import Table

from blocks.environment import load_environment
from blocks.errors import SlipwayError
from blocks.run import make_artifact_key
from flows.running.defaults import load_defaults
from infra.command.screen import console
from infra.errors import StackError
from infra.local.settings import LocalStack
from infra.local.status import shorten

DEPLOYMENT = "train-model/local"
DEADLINE_S = 1200.0
TRIGGER_DEADLINE_S = 180.0  # the poll tells of what the webhook did not, every two minutes
ALIAS_SET_AT = "alias_set_at"
RECORDED_DEADLINE_S = 30.0
POLL_INTERVAL_S = 1.0


def show_demo(stack: LocalStack, **parameters: Any) -> None:
    """Run the deployment, follow it and show what is live."""
    with get_client(sync_client=True) as client:
        show_training(client, stack, start(client, stack, parameters))
    console.print("\ntry next: uv run prefect deployment run train-model/local -p epochs=8 -p learning_rate=0.0005")


def show_training(client: SyncPrefectClient, stack: LocalStack, run: FlowRun) -> None:
    """Follow a training until what it promoted is live, or it is rejected, and show what is live then."""
    run = require_completed(follow(client, run.id), stack)
    if run.state_name != "Rejected":
        release = require_completed(follow(client, await_triggered_release(client, stack).id), stack)
        console.print(f"{measure_seconds_to_live(client, release):.1f} s from the alias 'deploy' set to verified live")
    console.print(make_live_table(client, stack, run))


def start(client: SyncPrefectClient, stack: LocalStack, parameters: dict[str, Any]) -> FlowRun:
    """Create a run of the training deployment, with its defaults for the parameters that are not given."""
    deployment = client.read_deployment_by_name(DEPLOYMENT)
    run = client.create_flow_run_from_deployment(deployment.id, parameters=parameters)
    console.print(f"{DEPLOYMENT} runs: {stack.prefect_url}/runs/flow-run/{run.id}")
    return run


def require_completed(run: FlowRun, stack: LocalStack) -> FlowRun:
    """Return a run that completed; a StackError says how it ended otherwise."""
    if run.state is None or not run.state.is_completed():
        message = run.state.message if run.state else "no state"
        raise StackError(f"{run.name} ended {run.state_name}: {message}; see {stack.log('worker')}")
    return run


def await_triggered_release(client: SyncPrefectClient, stack: LocalStack) -> FlowRun:
    """Return the run of deploy-model that the alias `deploy` triggers, as soon as there is one."""
    served = load_defaults().deploy_model.model_name
    version = load_environment().registry.get_aliases(served)["deploy"]
    wanted = {"model_name": served, "source": f"version:{version}"}
    deploying = FlowFilter(name=FlowFilterName(any_=["deploy-model"]))
    end = time.monotonic() + TRIGGER_DEADLINE_S
    while time.monotonic() < end:
        for run in client.read_flow_runs(flow_filter=deploying, sort=FlowRunSort.EXPECTED_START_TIME_DESC, limit=20):
            if wanted.items() <= run.parameters.items() and run.parameters.get(ALIAS_SET_AT):
                console.print(f"alias 'deploy' set on {served} version {version}: deploy-model/local was triggered")
                return run
        time.sleep(POLL_INTERVAL_S)
    raise StackError(
        f"{served}: 'deploy' on version {version} triggered no run within {TRIGGER_DEADLINE_S:.0f} s; see "
        f"{stack.log('events')} and the automations at {stack.prefect_url}/automations"
    )


def measure_seconds_to_live(client: SyncPrefectClient, release: FlowRun) -> float:
    """Return the seconds from the alias set in MLflow to the end of the run's verification."""
    proven = _await_end_of_step(client, release.id, "verify-deployment")
    return proven.timestamp() - datetime.fromisoformat(release.parameters[ALIAS_SET_AT]).timestamp()


def _await_end_of_step(client: SyncPrefectClient, run_id: UUID, name: str) -> datetime:
    """Return when a step ended, which Prefect records a moment after the run's own end."""
    end = time.monotonic() + RECORDED_DEADLINE_S
    while time.monotonic() < end:
        steps = client.read_task_runs(flow_run_filter=_filter_runs([run_id]))
        if ends := [step.end_time for step in steps if step.name.startswith(name) and step.end_time]:
            return max(ends)
        time.sleep(POLL_INTERVAL_S)
    raise StackError(f"flow run {run_id}: no end of {name} was recorded within {RECORDED_DEADLINE_S:.0f} s")


def follow(client: SyncPrefectClient, run_id: UUID) -> FlowRun:
    """Print each step as it ends until the run has ended, and return the run."""
    begin, seen = time.monotonic(), set[UUID]()
    while True:
        run = client.read_flow_run(run_id)
        for step in client.read_task_runs(
            flow_run_filter=_filter_runs(_list_family(client, run_id)), sort=TaskRunSort.END_TIME_DESC
        )[::-1]:
            if _has_ended(step) and step.id not in seen:
                seen.add(step.id)
                name = step.name.split(" ")[0]
                console.print(f"  {name:18} {step.state_name:10} {step.total_run_time.total_seconds():6.1f} s")
        if run.state and run.state.is_final():
            console.print(f"{run.state_name} after {time.monotonic() - begin:.0f} s")
            return run
        if time.monotonic() - begin > DEADLINE_S:
            raise StackError(f"the run {run_id} has not ended after {DEADLINE_S:.0f} s; it is {run.state_name}")
        time.sleep(POLL_INTERVAL_S)


def _has_ended(step: TaskRun) -> bool:
    """Tell whether a step has ended; what stands for a subflow among the steps is none."""
    return step.state is not None and step.state.is_final() and step.state.state_details.child_flow_run_id is None


def _list_family(client: SyncPrefectClient, run_id: UUID) -> list[UUID]:
    parent = FlowRunFilter(parent_flow_run_id=FlowRunFilterParentFlowRunId(any_=[run_id]))
    return [run_id, *(run.id for run in client.read_flow_runs(flow_run_filter=parent))]


def _filter_runs(run_ids: list[UUID]) -> FlowRunFilter:
    return FlowRunFilter(id=FlowRunFilterId(any_=run_ids))


def make_live_table(client: SyncPrefectClient, stack: LocalStack, run: FlowRun) -> Table:
    """Return the gates' figures of a run, and what MLflow and every replica hold now."""
    defaults = load_defaults()
    served = defaults.deploy_model.model_name
    table = Table(show_header=False, box=None, pad_edge=False)
    for gate in ("gate-1", "gate-2"):
        table.add_row(gate, _describe_gate(client, run, gate))
    for model_name in (defaults.train_model.model_name, served):
        table.add_row("MLflow", f"{model_name}: {_describe_aliases(model_name)}")
    for address, text in _describe_replicas(client, served):
        table.add_row("Triton", f"{address}: {text}")
    table.add_row("pages", f"Prefect {stack.prefect_url}, MLflow {stack.mlflow_url}")
    table.add_row("", f"Prefect's password is the text in {shorten(stack.auth_file)}")
    return table


def _describe_gate(client: SyncPrefectClient, run: FlowRun, key: str) -> str:
    found = _read_artifacts(client, key, [run.id])
    return found[0].description or "-" if found else "not reached"


def _read_artifacts(client: SyncPrefectClient, key: str, run_ids: list[UUID] | None = None) -> list[Artifact]:
    narrowed = ArtifactFilterFlowRunId(any_=run_ids) if run_ids else None
    wanted = ArtifactFilter(key=ArtifactFilterKey(any_=[key]), flow_run_id=narrowed)
    return client.read_artifacts(artifact_filter=wanted, sort=ArtifactSort.CREATED_DESC, limit=1)


def _describe_aliases(model_name: str) -> str:
    try:
        aliases = load_environment().registry.get_aliases(model_name)
    except SlipwayError as exc:
        return str(exc)
    versions: dict[int, list[str]] = {}
    for alias, version in aliases.items():
        versions.setdefault(version, []).append(alias)
    return (
        ", ".join(f"version {version} is {' and '.join(names)}" for version, names in sorted(versions.items())) or "-"
    )


def _describe_replicas(client: SyncPrefectClient, model_name: str) -> Iterable[tuple[str, str]]:
    receipts = _read_artifacts(client, make_artifact_key("receipt", model_name))
    rows: list[dict[str, Any]] = _read_rows(receipts[0]) if receipts else []
    proofs = {row["replica"]: row for row in rows}
    fleet = load_environment().fleet
    for address in fleet.list_addresses():
        versions = ", ".join(map(str, fleet.list_ready_versions(address, model_name))) or "none"
        yield address, f"{model_name} version {versions} ready; {_describe_proof(proofs.get(address))}"


def _read_rows(receipt: Artifact) -> list[dict[str, Any]]:
    return json.loads(receipt.data) if isinstance(receipt.data, str) else []


def _describe_proof(row: dict[str, Any] | None) -> str:
    if row is None:
        return "no receipt yet"
    return (
        f"version {row['Triton version']} verified: largest difference {row['largest difference']:.1e}, "
        f"latency p50 {row['p50 ms']} ms, p95 {row['p95 ms']} ms"
    )
