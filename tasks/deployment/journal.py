"""The journal of a release: open from before its first change until it is finished or undone.

An entry without a receipt is a release under way: whatever stopped it, it is undone. An entry with one is proven:
whatever stopped it, it is finished.
"""

from pydantic import BaseModel, ConfigDict, Field

from blocks.repository import ModelRepository
from tasks.deployment.plan import ReleasePlan
from tasks.deployment.receipt import Receipt


class Journal(BaseModel):
    """A release that was begun."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    plan: ReleasePlan
    receipt: Receipt | None = Field(default=None, description="Proof of the release, after which it is only finished.")


def open_journal(repository: ModelRepository, plan: ReleasePlan) -> None:
    """Write down a release before its first change; from here on it is either finished or undone."""
    _write(repository, Journal(plan=plan))


def open_entry(repository: ModelRepository, model_name: str) -> Journal | None:
    """Return the release of a model that was begun and neither finished nor undone, if there is one."""
    entry = repository.read_journal(model_name)
    return Journal.model_validate_json(entry) if entry is not None else None


def mark_proven(repository: ModelRepository, plan: ReleasePlan, receipt: Receipt) -> Journal:
    """Write down that a release is proven: it can only be finished now."""
    journal = Journal(plan=plan, receipt=receipt)
    _write(repository, journal)
    return journal


def _write(repository: ModelRepository, journal: Journal) -> None:
    repository.write_journal(journal.plan.model_name, journal.model_dump_json(indent=2))
