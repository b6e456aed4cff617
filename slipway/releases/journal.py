"""The journal of a release: open from before its first change until it is finished or undone.

An entry is a release under way (`Begun`) or one that is proven (`Proven`, which has a receipt). A closed one stays, so
that who was paused in between cannot take "none" for what it was before.
"""

from datetime import UTC, datetime
from typing import Any
from uuid import uuid4

from pydantic import BaseModel, ConfigDict, Field, TypeAdapter, ValidationError

from blocks.bucket_objects import StoredObject
from blocks.errors import IntegrityError, ReleaseTakenOver
from blocks.repository import ModelRepository
from slipway.releases.plan import ReleasePlan
from slipway.releases.receipt import Receipt


class Begun(BaseModel):
    """A release under way: whatever stops it, it is undone."""

    model_config = ConfigDict(frozen=True, extra="ignore")

    plan: ReleasePlan


class Proven(BaseModel):
    """A release that is proven: whatever stops it, it is finished."""

    model_config = ConfigDict(frozen=True, extra="ignore")

    plan: ReleasePlan
    receipt: Receipt


Journal = Begun | Proven


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
        raise _report_takeover(plan, begun)
    _write(repository, Begun(plan=plan), found)


def ensure_open(repository: ModelRepository, plan: ReleasePlan) -> None:
    """Open the journal of a release unless it is open for just this plan; `ReleaseTakenOver` where it is another's."""
    begun = read_open(repository, plan.model_name)
    if begun is None or begun.plan != plan:
        open_journal(repository, plan)


def read_open(repository: ModelRepository, model_name: str) -> Journal | None:
    """Return the release of a model that was begun and neither finished nor undone, if there is one.

    Raises `IntegrityError` where the journal cannot be read.
    """
    return _read(repository.read_journal(model_name), repository, model_name)


def require_open(repository: ModelRepository, plan: ReleasePlan) -> None:
    """Raise `ReleaseTakenOver` unless a release is still its run's own."""
    begun = read_open(repository, plan.model_name)
    if begun is None or begun.plan.flow_run_id != plan.flow_run_id:
        raise _report_takeover(plan, begun)


def mark_proven(repository: ModelRepository, plan: ReleasePlan, receipt: Receipt) -> Proven:
    """Write down that a release is proven: it can only be finished now. `ReleaseTakenOver` where it is not ours."""
    found = repository.read_journal(plan.model_name)
    begun = _read(found, repository, plan.model_name)
    if begun is None or begun.plan.flow_run_id != plan.flow_run_id:
        raise _report_takeover(plan, begun)
    proven = Proven(plan=plan, receipt=receipt)
    _write(repository, proven, found)
    return proven


def close_journal(repository: ModelRepository, plan: ReleasePlan) -> None:
    """Close a release that is finished, or undone; one that is another's, or closed, is left as it is."""
    found = repository.read_journal(plan.model_name)
    begun = _read(found, repository, plan.model_name)
    if found is not None and begun is not None and begun.plan.flow_run_id == plan.flow_run_id:
        closed = ClosedJournal(closed_at=datetime.now(UTC), flow_run_id=plan.flow_run_id, epoch=plan.epoch)
        repository.write_journal(plan.model_name, closed.model_dump_json(indent=2), found.etag)


def _report_takeover(plan: ReleasePlan, begun: Journal | None) -> ReleaseTakenOver:
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
        if "closed_at" in entry:
            return None
        return Begun.model_validate(entry) if entry.get("receipt") is None else Proven.model_validate(entry)
    except ValidationError as error:
        raise IntegrityError(
            f"model '{model_name}' in {repository.store.address}: its journal cannot be read ({error.error_count()} "
            f"errors, the first: {error.errors()[0]['msg']}); expected what a release wrote: mend "
            f"{repository.journal_prefix}/{model_name}.json, or, where nothing of a release is left, delete it"
        ) from error


def _write(repository: ModelRepository, journal: Journal, found: StoredObject | None) -> None:
    entry = journal.model_dump_json(indent=2)
    repository.write_journal(journal.plan.model_name, entry, found.etag if found is not None else None)
