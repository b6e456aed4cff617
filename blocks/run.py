"""The Prefect run that is going on, as what works in it sees it: who it is, what it says, what it shows.

Outside of a run, in a step from a shell, what is said goes to the log `slipway`, and nothing is shown.
"""

import logging
import re
from typing import Any
from uuid import UUID, uuid4

from prefect import runtime
from prefect.artifacts import (
    create_markdown_artifact,
    create_progress_artifact,
    create_table_artifact,
    update_progress_artifact,
)
from prefect.context import FlowRunContext, TaskRunContext
from prefect.logging import get_run_logger

SHELL = "shell"
SHELL_SESSION = "shell-"
_outside = logging.getLogger("slipway")


def get_flow_run_id() -> str:
    """Return the id of the flow run this is, `shell` outside of one."""
    return runtime.flow_run.id or SHELL


def get_flow_run_name() -> str:
    """Return the name of the flow run this is, `shell` outside of one."""
    return runtime.flow_run.name or SHELL


def get_owner() -> str:
    """Return who this is: the flow run, or an id of its own outside of one."""
    return runtime.flow_run.id or f"{SHELL_SESSION}{uuid4().hex[:12]}"


def say(text: str) -> None:
    """Log a sentence with the run."""
    _log(logging.INFO, text)


def warn(text: str) -> None:
    """Log a warning with the run."""
    _log(logging.WARNING, text)


def publish_report(key: str, markdown: str, summary: str) -> None:
    """Show Markdown as an artifact of the run."""
    if _is_running():
        create_markdown_artifact(markdown, key=key, description=summary)


def publish_table(key: str, rows: list[dict[str, Any]], description: str) -> None:
    """Show a table as an artifact of the run, one row an entry."""
    if _is_running():
        create_table_artifact(key=key, table=rows, description=description)


def create_progress(key: str, description: str) -> UUID | None:
    """Show a bar as an artifact of the run, and return its id, None where there is no run."""
    if not _is_running():
        return None
    created = create_progress_artifact(progress=0.0, key=key, description=description)
    return created if isinstance(created, UUID) else None


def update_progress(artifact_id: UUID, percent: float, description: str) -> None:
    """Bring a bar up to date."""
    update_progress_artifact(artifact_id, progress=percent, description=description)


def make_artifact_key(kind: str, model_name: str) -> str:
    """Return the key of a model's artifact, which takes lower-case letters, digits and dashes only."""
    return f"{kind}-" + re.sub(r"[^a-z0-9]+", "-", model_name.lower()).strip("-")


def _log(level: int, text: str) -> None:
    (get_run_logger() if _is_running() else _outside).log(level, text)


def _is_running() -> bool:
    return FlowRunContext.get() is not None or TaskRunContext.get() is not None
