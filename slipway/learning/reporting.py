"""What a step says while it runs: on the page of its Prefect run, or plainly, when it runs from a shell."""

import logging

from prefect.artifacts import create_markdown_artifact
from prefect.context import TaskRunContext
from prefect.logging import get_run_logger

_shell = logging.getLogger("slipway")


def say(message: str) -> None:
    """Log a sentence with the task run that is going on, if one is."""
    # A run's logger is a LoggerAdapter: both have info().
    logger = get_run_logger() if TaskRunContext.get() is not None else _shell
    logger.info(message)


def publish_report(key: str, markdown: str, summary: str) -> None:
    """Show `markdown` as an artifact of the task run that is going on, if one is."""
    if TaskRunContext.get() is not None:
        create_markdown_artifact(markdown, key=key, description=summary)
