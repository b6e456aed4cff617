"""Run the event service, `python -m infra.events`; settings are the variables SLIPWAY_EVENTS_… and SLIPWAY_WEBHOOK_…"""

import logging
import sys

import uvicorn
from pydantic import ValidationError

from infra.events.app import create_app
from infra.events.settings import EventSettings


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
    uvicorn.run(
        create_app(settings),
        host=settings.events_host,
        port=settings.events_port,
        access_log=False,
        log_config=None,
        timeout_graceful_shutdown=10,
    )


if __name__ == "__main__":
    main()
