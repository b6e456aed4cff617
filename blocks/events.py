"""What slipway tells Prefect, as events of a model: automations react to them, the event service counts them."""

from enum import StrEnum
from typing import Any

from prefect.events import emit_event
from prefect.settings import get_current_settings

PREFIX = "slipway."


class Happened(StrEnum):
    """The names of slipway's events; the resource of each is `slipway.model.<name>`."""

    RELEASE_FINISHED = "slipway.release.finished"
    RELEASE_UNDONE = "slipway.release.undone"
    RELEASE_FAILED = "slipway.release.failed"
    ROLLBACK_FINISHED = "slipway.rollback.finished"
    GATE_PASSED = "slipway.gate.passed"
    GATE_REFUSED = "slipway.gate.refused"
    DRIFT_FOUND = "slipway.drift.found"
    DRIFT_REPAIRED = "slipway.drift.repaired"
    UPDATE_REFUSED = "slipway.update.refused"
    RECONCILED = "slipway.reconciliation.finished"


def tell(happened: Happened, model_name: str | None, **payload: Any) -> None:
    """Emit an event of a model, or of all (None); where no Prefect server is named, in a plain call, nobody is told."""
    if not get_current_settings().api.url:
        return
    emit_event(
        event=happened,
        resource={
            "prefect.resource.id": f"slipway.model.{model_name}" if model_name else "slipway.models",
            "prefect.resource.name": model_name or "all models",
        },
        payload=payload,
    )


def tell_gate(gate: int, passed: bool, model_name: str, reason: str) -> None:
    """Emit what a gate came to."""
    tell(Happened.GATE_PASSED if passed else Happened.GATE_REFUSED, model_name, gate=gate, reason=reason)
