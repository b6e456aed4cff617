"""The journal of a release: open from before its first change until it is finished or undone.

An entry without a receipt is a release under way: whatever stopped it, it is undone. An entry with one is proven:
whatever stopped it, it is finished. A closed one stays, so that who was paused in between cannot take "none" for what
it was before.
"""

from datetime import UTC, datetime
from typing import Any
from uuid import uuid4

from pydantic import BaseModel, ConfigDict, Field, TypeAdapter, ValidationError

from blocks.errors import IntegrityError, ReleaseTakenOver
from blocks.object_store import StoredObject
from blocks.repository import ModelRepository
from slipway.releases.plan import ReleasePlan
from slipway.releases.receipt import Receipt


class Journal(BaseModel):
    """A release that was begun."""

    model_config = ConfigDict(frozen=True, extra="ignore")

    plan: ReleasePlan
    receipt: Receipt | None = Field(default=None, description="Proof of the release, after which it is only finished.")


class ClosedJournal(BaseModel):
    """What is left of a release that was finished or undone."""

    model_config = ConfigDict(frozen=True, extra="ignore")

    closed_at: datetime
    flow_run_id: str
    epoch: int
    id: str = Field(default_factory=lambda: uuid4().hex, description="So that no two are alike.")


def open_journal(repository: ModelRepository, plan: ReleasePlan) -> None:
    """Write down a release before its first change; from here on it is either finished or undone.

    Raises `ReleaseTakenOver` where another release is open, or was opened meanwhile.
    """
    found = repository.read_journal(plan.model_name)
    begun = _read(found, repository, plan.model_name)
    if begun is not None and begun.plan.flow_run_id != plan.flow_run_id:
        raise _taken_over(plan, begun)
    _write(repository, Journal(plan=plan), found)


def open_entry(repository: ModelRepository, model_name: str) -> Journal | None:
    """Return the release of a model that was begun and neither finished nor undone, if there is one.

    Raises `IntegrityError` where the journal cannot be read.
    """
    return _read(repository.read_journal(model_name), repository, model_name)


def require_open(repository: ModelRepository, plan: ReleasePlan) -> None:
    """Raise `ReleaseTakenOver` unless a release is still its run's own."""
    _found_open(repository, plan)


def mark_proven(repository: ModelRepository, plan: ReleasePlan, receipt: Receipt) -> Journal:
    """Write down that a release is proven: it can only be finished now. `ReleaseTakenOver` where it is not ours."""
    journal = Journal(plan=plan, receipt=receipt)
    _write(repository, journal, _found_open(repository, plan))
    return journal


def close_journal(repository: ModelRepository, plan: ReleasePlan) -> None:
    """Close a release that is finished, or undone; one that is another's, or closed, is left as it is."""
    found = repository.read_journal(plan.model_name)
    begun = _read(found, repository, plan.model_name)
    if found is not None and begun is not None and begun.plan.flow_run_id == plan.flow_run_id:
        closed = ClosedJournal(closed_at=datetime.now(UTC), flow_run_id=plan.flow_run_id, epoch=plan.epoch)
        repository.write_journal(plan.model_name, closed.model_dump_json(indent=2), found.etag)


def _found_open(repository: ModelRepository, plan: ReleasePlan) -> StoredObject | None:
    found = repository.read_journal(plan.model_name)
    begun = _read(found, repository, plan.model_name)
    if begun is None or begun.plan.flow_run_id != plan.flow_run_id:
        raise _taken_over(plan, begun)
    return found


def _taken_over(plan: ReleasePlan, begun: Journal | None) -> ReleaseTakenOver:
    now = f"is {begun.plan.flow_run_id}'s" if begun else "is closed"
    return ReleaseTakenOver(
        f"model '{plan.model_name}' version {plan.registry_version}: the journal of {plan.flow_run_id} {now}, expected "
        "it open; another run took this one for dead and settled it, so nothing more is changed: see `make status`, "
        "then release again"
    )


def _read(found: StoredObject | None, repository: ModelRepository, model_name: str) -> Journal | None:
    if found is None:
        return None
    try:
        entry: Any = TypeAdapter(dict[str, Any]).validate_json(found.content)
        return None if "closed_at" in entry else Journal.model_validate(entry)
    except ValidationError as error:
        raise IntegrityError(
            f"model '{model_name}' in {repository.store.address}: its journal cannot be read ({error.error_count()} "
            f"errors, the first: {error.errors()[0]['msg']}); expected what a release wrote: mend "
            f"{repository.journal_prefix}/{model_name}.json, or, where nothing of a release is left, delete it"
        ) from error


def _write(repository: ModelRepository, journal: Journal, found: StoredObject | None) -> None:
    entry = journal.model_dump_json(indent=2)
    repository.write_journal(journal.plan.model_name, entry, found.etag if found is not None else None)
