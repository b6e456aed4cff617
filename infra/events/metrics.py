"""What the event service counts, for Prometheus: deliveries by itself, the rest from slipway's events in Prefect."""

from collections.abc import Iterator

from prefect.events import Event
from prometheus_client import CollectorRegistry, Counter, Gauge

from blocks.events import Happened

REGISTRY = CollectorRegistry()
DELIVERIES = Counter(
    "slipway_webhook_deliveries", "Deliveries by MLflow, by what came of them.", ["outcome"], registry=REGISTRY
)
RELEASES = Counter("slipway_releases", "Releases, by how they ended.", ["model", "outcome"], registry=REGISTRY)
ROLLBACKS = Counter("slipway_rollbacks", "Rollbacks that were proven.", ["model"], registry=REGISTRY)
GATES = Counter("slipway_gate_results", "Verdicts of the gates 1, 2 and 3.", ["gate", "result"], registry=REGISTRY)
DRIFT = Counter(
    "slipway_drift_findings", "What reconcile-models found.", ["model", "kind", "outcome"], registry=REGISTRY
)
RECONCILED_AT = Gauge(
    "slipway_last_reconciliation_timestamp_seconds", "When reconcile-models last ended.", registry=REGISTRY
)
OUTCOMES = ("accepted", "duplicate", "forged", "stale", "malformed", "oversized", "unavailable")
for outcome in OUTCOMES:
    DELIVERIES.labels(outcome)


def list_names() -> Iterator[str]:
    """Yield the name of every sample the service exposes."""
    for metric in REGISTRY.collect():
        yield f"{metric.name}_total" if metric.type == "counter" else metric.name


def count(event: Event) -> None:
    """Count one of slipway's events."""
    model, payload = event.resource.name or "", event.payload
    match event.event:
        case Happened.RELEASE_FINISHED:
            RELEASES.labels(model, "released").inc()
        case Happened.RELEASE_UNDONE:
            RELEASES.labels(model, "undone").inc()
        case Happened.RELEASE_FAILED:
            RELEASES.labels(model, "failed").inc()
        case Happened.ROLLBACK_FINISHED:
            ROLLBACKS.labels(model).inc()
        case Happened.GATE_PASSED | Happened.GATE_REFUSED:
            GATES.labels(str(payload["gate"]), "passed" if event.event == Happened.GATE_PASSED else "refused").inc()
        case Happened.DRIFT_FOUND | Happened.DRIFT_REPAIRED:
            came_of_it = "left" if event.event == Happened.DRIFT_FOUND else "repaired"
            for finding in payload["findings"]:
                DRIFT.labels(model, finding["kind"], came_of_it).inc()
        case Happened.RECONCILED:
            RECONCILED_AT.set(event.occurred.timestamp())
