"""`slipway events`: the event service, until it is told to stop."""

from infra.events.server import run_server
from infra.events.settings import EventSettings


def serve() -> None:
    """Run the event service; its settings are the variables SLIPWAY_EVENTS_… and SLIPWAY_WEBHOOK_…."""
    run_server(EventSettings())
