"""What has to be noticed at night is: automations trigger, and the receiver gets a text that says what and where."""

import json
import threading
import time
import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from http.server import BaseHTTPRequestHandler, HTTPServer
from typing import Any

import pytest
from prefect.client.orchestration import SyncPrefectClient, get_client
from prefect.events import emit_event
from prefect.events.filters import EventFilter, EventNameFilter, EventOccurredFilter
from pydantic import SecretStr

from infra.local.settings import LocalStack
from infra.setup.automations import apply_automations
from infra.setup.settings import AlertSettings
from tasks.events import Happened


@contextmanager
def receiver() -> Iterator[tuple[str, list[dict[str, Any]]]]:
    """Yield an address, and what is sent there."""
    received: list[dict[str, Any]] = []

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            received.append(json.loads(self.rfile.read(int(self.headers["Content-Length"]))))
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


def actions_failed_since(client: SyncPrefectClient, start: datetime) -> int:
    wanted = EventFilter(
        event=EventNameFilter(name=["prefect.automation.action.failed"]),
        occurred=EventOccurredFilter.model_validate({"since": start}),
    )
    return len(client.read_events(filter=wanted, limit=50).events)


@pytest.mark.timeout(300)
def test_drift_and_a_failed_release_are_told_with_the_model_and_the_reason(stack: LocalStack) -> None:
    model_name, start = f"alert-{uuid.uuid4().hex[:8]}-onnx", datetime.now(UTC) - timedelta(seconds=1)
    with receiver() as (url, received), get_client(sync_client=True) as client:
        apply_automations(client, AlertSettings(alerts_url=SecretStr(url)))
        try:
            with resumed(client, "slipway-drift-found", "slipway-release-failed"):
                time.sleep(2)  # until the server has taken the change over
                tell_of(model_name, Happened.DRIFT_FOUND, findings=[{"kind": "alias points elsewhere"}])
                tell_of(model_name, Happened.RELEASE_FAILED, reason="gate 3 failed")
                end = time.monotonic() + 60
                while len(received) < 2 and time.monotonic() < end:
                    time.sleep(0.2)
                assert actions_failed_since(client, start) == 0
        finally:
            apply_automations(client, AlertSettings(alerts_url=None))

    texts = sorted(message["text"] for message in received)
    assert len(texts) == 2
    assert all(model_name in text for text in texts)
    assert "slipway-drift-found" in texts[0]
    assert "alias points elsewhere" in texts[0]
    assert "gate 3 failed" in texts[1]
