"""What has to be noticed at night is: automations trigger, and the receiver gets a text that says what and where."""

import json
import threading
import time
import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import timedelta
from http.server import BaseHTTPRequestHandler, HTTPServer
from typing import Any

import pytest
from prefect.blocks.notifications import CustomWebhookNotificationBlock
from prefect.client.orchestration import SyncPrefectClient, get_client
from prefect.client.schemas.objects import FlowRun, State
from prefect.events import emit_event
from prefect.events.actions import RunDeployment
from prefect.events.schemas.automations import AutomationCore, EventTrigger, Posture
from prefect.states import Cancelled, Cancelling, Completed, Crashed, Pending, Running
from pydantic import SecretStr

from blocks.events import Happened
from infra.local.settings import LocalStack
from infra.setup.automations import RECEIVER, apply_automations, read_automations
from infra.setup.settings import AlertSettings
from tests.apparatus.automations import await_loaded
from tests.apparatus.patience import PATIENCE_S

SHORTEST = timedelta(seconds=10)  # that an automation can wait for what does not happen


@contextmanager
def receiver() -> Iterator[tuple[str, list[str]]]:
    """Yield an address, and the texts that are sent there."""
    received: list[str] = []

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            received.append(json.loads(self.rfile.read(int(self.headers["Content-Length"])))["text"])
            self.send_response(200)
            self.end_headers()

        def log_message(self, *_: object) -> None: ...

    server = HTTPServer(("127.0.0.1", 0), Handler)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    try:
        yield f"http://127.0.0.1:{server.server_port}/alerts", received
    finally:
        server.shutdown()
        server.server_close()


@contextmanager
def resumed(client: SyncPrefectClient, *names: str) -> Iterator[None]:
    """Let these automations act while the block runs."""
    ours = [found.id for name in names for found in client.read_automations_by_name(name)]
    for automation in ours:
        client.resume_automation(automation)
    try:
        yield
    finally:
        for automation in ours:
            client.pause_automation(automation)


def tell_of(model_name: str, happened: str, **payload: Any) -> None:
    resource = {"prefect.resource.id": f"slipway.model.{model_name}", "prefect.resource.name": model_name}
    emit_event(event=happened, resource=resource, payload=payload)


@contextmanager
def told() -> Iterator[list[str]]:
    """Let every automation that notifies act while the block runs; yield the texts that people get, as they come."""
    with receiver() as (url, received), get_client(sync_client=True) as client:
        apply_automations(client, AlertSettings(alerts_url=SecretStr(url)))
        try:
            with resumed(client, *(automation.name for automation in read_automations())):
                hurry(client, "slipway-run-pending", "slipway-run-lost", "slipway-run-cancelling")
                await_loaded(client)
                yield received
        finally:
            apply_automations(client, AlertSettings(alerts_url=None))
            block_type = CustomWebhookNotificationBlock.get_block_type_slug()
            client.delete_block_document(client.read_block_document_by_name(RECEIVER, block_type).id)


def hurry(client: SyncPrefectClient, *names: str) -> None:
    """Let these automations wait for seconds, the fewest that Prefect takes, instead of minutes."""
    for name in names:
        (found,) = client.read_automations_by_name(name)
        wanted = found.model_dump(exclude={"id", "owner_resource"})
        wanted["trigger"]["within"] = SHORTEST
        client.update_automation(found.id, AutomationCore.model_validate(wanted))


def await_texts(texts: list[str], expected: int, *words: str) -> list[str]:
    """Return the texts with one of these words, once there are as many; a stack has more to tell than a test asks."""
    end = time.monotonic() + PATIENCE_S
    while len(ours := [text for text in texts if any(word in text for word in words)]) < expected:
        if time.monotonic() > end:
            break
        time.sleep(0.2)
    return ours


def run_of(client: SyncPrefectClient, deployment: str, state: State[Any]) -> FlowRun:
    """Return a run of a deployment that no worker takes up."""
    found = client.read_deployment_by_name(deployment)
    return client.create_flow_run_from_deployment(found.id, state=state)


def send_heartbeat(run: FlowRun) -> None:
    related = [{"prefect.resource.id": f"prefect.tag.{tag}", "prefect.resource.role": "tag"} for tag in run.tags]
    resource = {"prefect.resource.id": f"prefect.flow-run.{run.id}", "prefect.resource.name": run.name}
    emit_event("prefect.flow-run.heartbeat", resource=resource, related=related)


@pytest.mark.timeout(600)
def test_drift_and_a_failed_release_are_told_with_the_model_and_the_reason(stack: LocalStack) -> None:
    model_name = f"alert-{uuid.uuid4().hex[:8]}-onnx"
    with told() as texts:
        tell_of(model_name, Happened.DRIFT_FOUND, findings=[{"kind": "alias points elsewhere"}])
        tell_of(model_name, Happened.RELEASE_FAILED, reason="gate 3 failed")
        drift, failed = sorted(await_texts(texts, 2, model_name))

    assert "slipway-drift-found" in drift and "alias points elsewhere" in drift
    assert "slipway-release-failed" in failed and "gate 3 failed" in failed


@pytest.mark.timeout(600)
def test_runs_that_crash_wait_or_vanish_are_told_and_those_that_end_by_a_name_of_their_own_are_not(
    stack: LocalStack,
) -> None:
    with told() as texts, get_client(sync_client=True) as client:
        crashed = run_of(client, "reconcile-models/local", Running())
        lost = run_of(client, "train-model/local", Running())
        superseded = run_of(client, "deploy-model/local", Running())
        waiting = run_of(client, "rollback-model/local", Pending())
        unheard = run_of(client, "train-candidate/local", Running())
        client.set_flow_run_state(unheard.id, Cancelling())
        client.set_flow_run_state(waiting.id, Pending(name="Submitting"))  # as a worker does
        client.set_flow_run_state(crashed.id, Crashed(message="exit code 137"))
        client.set_flow_run_state(superseded.id, Completed(name="Superseded"))
        for run in (lost, superseded):  # the second's comes late
            send_heartbeat(run)
        runs = [run.name for run in (crashed, lost, superseded, waiting)]
        await_texts(texts, 3, *runs)
        time.sleep(2 * SHORTEST.total_seconds())
        states = {run.name: client.read_flow_run(run.id).state_name for run in (lost, superseded, waiting, unheard)}
        client.set_flow_run_state(waiting.id, Cancelled())

    assert states == {
        lost.name: "Crashed",
        superseded.name: "Superseded",
        waiting.name: "Submitting",
        unheard.name: "Cancelled",
    }
    about = [(text.splitlines()[0], name) for text in texts for name in runs if name in text]
    assert sorted(about) == sorted(
        [
            ("slipway-run-crashed", crashed.name),
            ("slipway-run-crashed", lost.name),
            ("slipway-run-pending", waiting.name),
        ]
    )


@pytest.mark.timeout(600)
def test_an_automation_that_cannot_act_is_told(stack: LocalStack) -> None:
    name = f"test-{uuid.uuid4().hex[:8]}"
    trigger = EventTrigger(expect={name}, posture=Posture.Reactive, threshold=1)
    broken = AutomationCore(name=name, trigger=trigger, actions=[RunDeployment(deployment_id=uuid.uuid4())])
    with told() as texts, get_client(sync_client=True) as client:
        automation = client.create_automation(broken)
        try:
            await_loaded(client)
            emit_event(name, resource={"prefect.resource.id": name})
            failed = await_texts(texts, 1, "slipway-action-failed")
        finally:
            client.delete_automation(automation)

    assert failed
