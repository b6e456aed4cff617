"""Passes a believed delivery on to Prefect, as an event whose id follows from the delivery's."""

import asyncio
from uuid import NAMESPACE_URL, UUID, uuid5

from httpx import HTTPError
from prefect.client.orchestration import PrefectClient

from blocks.events import make_alias_event
from infra.events.delivery import AliasDelivery, Refused


def event_id(delivery_id: UUID) -> UUID:
    """Return the id of a delivery's event: whoever gets the delivery twice makes the same event of it."""
    return uuid5(NAMESPACE_URL, f"mlflow-webhook-delivery:{delivery_id}")


async def pass_on(client: PrefectClient, delivery: AliasDelivery, delivery_id: UUID, timeout_s: float) -> None:
    """Emit a delivery's event; `Refused` with 503, on which MLflow tries again, where Prefect does not take it."""
    data = delivery.data
    version = data.version if delivery.action == "created" else None
    event = make_alias_event(
        event_id(delivery_id), data.name, data.alias, version, set_at=delivery.timestamp, found_by="webhook"
    )
    try:
        async with asyncio.timeout(timeout_s):
            answer = await client.request("POST", "/events", json=[event.model_dump(mode="json")])
            answer.raise_for_status()
    except (HTTPError, TimeoutError) as error:
        reason = f"Prefect did not take the event within {timeout_s:g} s ({error!r}); try again"
        raise Refused("unavailable", 503, reason) from error
