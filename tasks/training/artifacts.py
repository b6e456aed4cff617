"""Reports on the page of a Prefect run; a step that runs from a shell publishes nothing."""

from prefect.artifacts import create_markdown_artifact
from prefect.context import TaskRunContext


def publish_report(key: str, markdown: str, summary: str) -> None:
    """Show `markdown` as an artifact of the task run that is going on, if one is."""
    if TaskRunContext.get() is not None:
        create_markdown_artifact(markdown, key=key, description=summary)
