"""The mark of a version that was rolled back from, in its record; the registry has it as a tag, too."""

from datetime import datetime

from pydantic import BaseModel, ConfigDict, ValidationError

from blocks.labels import MARK_FILE
from blocks.repository import ModelRepository

NO_REASON = "no reason given"


class Mark(BaseModel):
    """Why and when a version was rolled back from, and by which run."""

    model_config = ConfigDict(frozen=True, extra="ignore")

    reason: str
    at: datetime
    flow_run_id: str = ""


def read_mark(repository: ModelRepository, model_name: str, version: int) -> Mark | None:
    """Return a version's mark, None where it was never rolled back from; one nobody can read still is a mark."""
    content = repository.read_record(model_name, version, MARK_FILE)
    if content is None:
        return None
    try:
        return Mark.model_validate_json(content)
    except ValidationError:
        return Mark(reason="its mark cannot be read", at=datetime.min)


def write_mark(repository: ModelRepository, model_name: str, version: int, mark: Mark) -> None:
    """Mark a version as one that was rolled back from; marking it again changes nothing."""
    repository.write_record(model_name, version, MARK_FILE, mark.model_dump_json(indent=2).encode())
