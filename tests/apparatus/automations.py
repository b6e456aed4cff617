"""What acts by itself: paused where tests run, resumed where a test is about it."""

import time
from collections.abc import Iterator
from contextlib import contextmanager
from uuid import UUID

from prefect.client.orchestration import get_client
from prefect.client.schemas.filters import FlowRunFilter

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
        try:
            yield
        finally:
            for trigger in triggers:
                client.pause_automation(trigger)
