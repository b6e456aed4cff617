"""The automations, which the tests' stack has paused, where a test is about what they do."""

from collections.abc import Iterator
from contextlib import contextmanager

from prefect.client.orchestration import get_client


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
