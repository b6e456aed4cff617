"""What acts by itself: paused where tests run, resumed where a test is about it."""

import asyncio
import time
import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from uuid import UUID

from prefect.client.orchestration import SyncPrefectClient, get_client
from prefect.client.schemas.filters import FlowRunFilter
from prefect.events import DoNothing, EventTrigger, Posture, emit_event, get_events_subscriber
from prefect.events.filters import EventFilter, EventResourceFilter
from prefect.events.schemas.automations import AutomationCore

from tests.apparatus.patience import PATIENCE_S

SCHEDULED_RUN_S = 180


def pause_automations() -> list[UUID]:
    """Let no alias release by itself, and tell nobody of anything; return what was not paused before."""
    with get_client(sync_client=True) as client:
        active = [automation.id for automation in client.read_automations() if automation.enabled]
        for automation in active:
            client.pause_automation(automation)
    return active


@contextmanager
def automations_paused() -> Iterator[None]:
    """Let nothing that happens in the block set off anything."""
    paused = pause_automations()
    try:
        yield
    finally:
        with get_client(sync_client=True) as client:
            for automation in paused:
                client.resume_automation(automation)


def pause_schedules() -> None:
    """Pause every deployment with a schedule, and wait for the runs that have begun."""
    with get_client(sync_client=True) as client:
        scheduled = [d.id for d in client.read_deployments() if any(schedule.active for schedule in d.schedules)]
        for deployment_id in scheduled:
            client.pause_deployment(deployment_id)
        begun = FlowRunFilter.model_validate(
            {"deployment_id": {"any_": scheduled}, "state": {"type": {"any_": ["PENDING", "RUNNING"]}}}
        )
        give_up = time.monotonic() + SCHEDULED_RUN_S
        while scheduled and client.read_flow_runs(flow_run_filter=begun):
            assert time.monotonic() < give_up, "a run that a schedule began does not end"
            time.sleep(0.5)


@contextmanager
def automations_resumed() -> Iterator[None]:
    """Let aliases release by themselves, as they do outside of the tests."""
    with get_client(sync_client=True) as client:
        triggers = [found.id for found in client.read_automations() if not found.name.startswith("slipway-")]
        for trigger in triggers:
            client.resume_automation(trigger)
        await_loaded(client)
        try:
            yield
        finally:
            for trigger in triggers:
                client.pause_automation(trigger)


def await_loaded(client: SyncPrefectClient) -> None:
    """Wait until Prefect's server acts by every change of an automation that was made before.

    The server answers first and loads the automation afterwards, one after the other: once one that is
    created here acts, so do the others. An event that comes before sets off nothing, hence more than one.
    """
    name = f"test-loaded-{uuid.uuid4().hex[:8]}"
    trigger = EventTrigger(expect={name}, posture=Posture.Reactive, threshold=1)
    automation = client.create_automation(AutomationCore(name=name, trigger=trigger, actions=[DoNothing()]))
    try:
        asyncio.run(_emit_until_it_acts(name, automation))
    finally:
        client.delete_automation(automation)


async def _emit_until_it_acts(event: str, automation: UUID) -> None:
    async def emit() -> None:
        while True:
            emit_event(event, resource={"prefect.resource.id": event})
            await asyncio.sleep(0.2)

    acts = EventFilter(resource=EventResourceFilter(id=[f"prefect.automation.{automation}"]))
    async with asyncio.timeout(PATIENCE_S), get_events_subscriber(filter=acts) as events:
        emitting = asyncio.create_task(emit())
        try:
            async for found in events:
                if found.event.startswith(("prefect.automation.triggered", "prefect.automation.action.")):
                    return
        finally:
            emitting.cancel()
