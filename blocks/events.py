"""The events of a model in Prefect: what MLflow tells slipway, and what slipway tells whoever listens.

Automations react to them, the event service counts them.
"""

from datetime import UTC, datetime
from enum import StrEnum
from typing import Any
from uuid import UUID

from prefect.events import Event, emit_event
from prefect.events.schemas.events import Resource
from prefect.settings import get_current_settings
from prefect.types import DateTime

from blocks.labels import DEPLOY, RELEASED_BY_TAG

PREFIX = "slipway."
_RELEASED = "-onnx"
ALIAS_SET, ALIAS_REMOVED = "mlflow.model-version-alias.created", "mlflow.model-version-alias.deleted"


class Happened(StrEnum):
    """The names of slipway's events; the resource of each is `slipway.model.<name>`."""

    RELEASE_FINISHED = "slipway.release.finished"
    RELEASE_UNDONE = "slipway.release.undone"
    RELEASE_FAILED = "slipway.release.failed"
    ROLLBACK_FINISHED = "slipway.rollback.finished"
    WITHDRAWAL_FINISHED = "slipway.withdrawal.finished"
    ADOPTION_FINISHED = "slipway.adoption.finished"
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


def is_released_by_name(model_name: str) -> bool:
    """Tell whether setting `deploy` releases a model that says nothing else of it: one that was exported to ONNX."""
    return model_name.endswith(_RELEASED)


def make_alias_event(
    event_id: UUID,
    model_name: str,
    alias: str,
    version: int | None,
    *,
    set_at: datetime,
    found_by: str,
    released: bool = False,
) -> Event:
    """Return the event of an alias that was set on a version, or removed (no version).

    Its resource is `mlflow.registered-model.<name>`, with the label `mlflow.alias` and, where setting `deploy`
    releases the model, by its name or as whoever emits the event knows, the label `slipway.released_by`.
    """
    resource = {
        "prefect.resource.id": f"mlflow.registered-model.{model_name}",
        "prefect.resource.name": model_name,
        "mlflow.alias": alias,
    }
    if released or is_released_by_name(model_name):
        resource[RELEASED_BY_TAG] = DEPLOY
    payload = {"model": model_name, "alias": alias, "set_at": set_at.isoformat()}
    return Event(
        id=event_id,
        event=ALIAS_SET if version is not None else ALIAS_REMOVED,
        occurred=DateTime.now(UTC),
        resource=Resource(resource),
        payload=payload | {"version": version, "found_by": found_by},
    )
