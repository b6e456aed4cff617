"""Run the event service, `python -m infra.events`; settings are the variables SLIPWAY_EVENTS_… and SLIPWAY_WEBHOOK_…"""

import logging
import sys

import uvicorn
from pydantic import ValidationError
from starlette.types import ASGIApp

from infra.events.app import create_app
from infra.events.patience import ImpatientProtocol
from infra.events.quiet import quiet
from infra.events.settings import EventSettings

MOST_CONNECTIONS = 2000  # at once; more are answered 503, on which MLflow tries again


def main() -> None:
    """Serve until told to stop; a setting that is missing or wrong is one line and status 2."""
    try:
        settings = EventSettings()
    except ValidationError as error:
        for found in error.errors(include_input=False):
            print(f"SLIPWAY_{'_'.join(map(str, found['loc'])).upper()}: {found['msg']}", file=sys.stderr)  # noqa: T201
        sys.exit(2)
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(levelname)s %(name)s: %(message)s", force=True)
    logging.getLogger("httpx").setLevel(logging.WARNING)
    quiet()
    uvicorn.Server(configuration(create_app(settings), settings.events_host, settings.events_port)).run()


def configuration(app: ASGIApp, host: str, port: int) -> uvicorn.Config:
    """Return how an application is served: what a stranger sends, or does not send, has a limit in time and number."""
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


if __name__ == "__main__":
    main()
