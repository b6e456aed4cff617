"""Deliveries as MLflow sends them, signed by the test, and what Prefect made of them."""

import json
import time
import uuid
from datetime import UTC, datetime, timedelta
from uuid import UUID

import httpx
from prefect.client.orchestration import get_client
from prefect.events import Event
from prefect.events.filters import EventFilter, EventNameFilter, EventOccurredFilter, EventResourceFilter

from infra.events.delivery import ID_HEADER, SIGNATURE_HEADER, TIME_HEADER, signature
from tests.apparatus.patience import PATIENCE_S


def alias_body(model_name: str, version: int | None = 1, alias: str = "deploy", action: str = "created") -> bytes:
    """Return what MLflow says about an alias."""
    data = {"name": model_name, "alias": alias} | ({"version": str(version)} if version is not None else {})
    now = datetime.now(UTC).isoformat()
    return json.dumps({"entity": "model_version_alias", "action": action, "timestamp": now, "data": data}).encode()


def signed(body: bytes, secret: str, delivery_id: UUID | None = None, age_s: float = 0) -> dict[str, str]:
    """Return the headers MLflow sends with a body."""
    delivery_id, timestamp = delivery_id or uuid.uuid4(), int(time.time() - age_s)
    return {
        ID_HEADER: str(delivery_id),
        TIME_HEADER: str(timestamp),
        SIGNATURE_HEADER: signature(delivery_id, timestamp, body, secret.encode()),
    }


def deliver(service_url: str, body: bytes, headers: dict[str, str]) -> httpx.Response:
    """Send a delivery to an event service."""
    return httpx.post(f"{service_url}/webhooks/mlflow", content=body, headers=headers, timeout=30, trust_env=False)


def counted(service_url: str) -> dict[str, float]:
    """Return an event service's count of deliveries by outcome."""
    lines = httpx.get(f"{service_url}/metrics", timeout=30, trust_env=False).text.splitlines()
    prefix = 'slipway_webhook_deliveries_total{outcome="'
    rows = [line.removeprefix(prefix).split('"} ') for line in lines if line.startswith(prefix)]
    return {outcome: float(value) for outcome, value in rows}


def events_of(prefix: str, count: int = 0, within_s: float = PATIENCE_S) -> list[Event]:
    """Return the alias events of models whose name starts so, waiting until there are `count`."""
    end = time.monotonic() + within_s
    while True:
        found = _read(prefix)
        if len(found) >= count or time.monotonic() > end:
            return found
        time.sleep(0.3)


def _read(prefix: str) -> list[Event]:
    wanted = EventFilter(  # made for each reading: it ends at the moment it was made
        event=EventNameFilter(prefix=["mlflow.model-version-alias."]),
        resource=EventResourceFilter(id_prefix=[f"mlflow.registered-model.{prefix}"]),
        occurred=EventOccurredFilter.model_validate({"since": datetime.now(UTC) - timedelta(hours=1)}),
    )
    found: dict[UUID, Event] = {}  # what comes in between two pages shifts the second, the newest being first
    with get_client(sync_client=True) as client:
        page = client.read_events(filter=wanted, limit=50)
        found |= {event.id: event for event in page.events}
        while page.next_page:
            page = client.read_events_page(str(page.next_page))
            found |= {event.id: event for event in page.events}
    return list(found.values())
