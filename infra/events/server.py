"""How the event service is served: what a stranger sends, or does not send, has a limit in time and number."""

import logging

import uvicorn
from starlette.types import ASGIApp

from infra.events.app import create_app
from infra.events.patience import ImpatientProtocol
from infra.events.quiet import quiet
from infra.events.settings import EventSettings

MOST_CONNECTIONS = 2000  # at once; more are answered 503, on which MLflow tries again


def run_server(settings: EventSettings) -> None:
    """Serve until told to stop."""
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(levelname)s %(name)s: %(message)s", force=True)
    logging.getLogger("httpx").setLevel(logging.WARNING)
    quiet()
    uvicorn.Server(configure(create_app(settings), settings.events_host, settings.events_port)).run()


def configure(app: ASGIApp, host: str, port: int) -> uvicorn.Config:
    """Return how an application is served."""
    return uvicorn.Config(
        app,
        host=host,
        port=port,
        http=ImpatientProtocol,
        limit_concurrency=MOST_CONNECTIONS,
        access_log=False,
        log_config=None,
        timeout_graceful_shutdown=10,
    )
