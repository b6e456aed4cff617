"""The journal of a release: open from before its first change until it is finished or undone.

An entry without a receipt is a release under way: whatever stopped it, it is undone. An entry with one is proven:
whatever stopped it, it is finished.
"""

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from blocks.errors import IntegrityError, ReleaseTakenOver
from blocks.repository import ModelRepository
from tasks.deployment.plan import ReleasePlan
from tasks.deployment.receipt import Receipt


class Journal(BaseModel):
    """A release that was begun."""

    model_config = ConfigDict(frozen=True, extra="ignore")

    plan: ReleasePlan
    receipt: Receipt | None = Field(default=None, description="Proof of the release, after which it is only finished.")


def open_journal(repository: ModelRepository, plan: ReleasePlan) -> None:
    """Write down a release before its first change; from here on it is either finished or undone."""
    _write(repository, Journal(plan=plan))


def open_entry(repository: ModelRepository, model_name: str) -> Journal | None:
    """Return the release of a model that was begun and neither finished nor undone, if there is one.

    Raises `IntegrityError` where the journal cannot be read.
    """
    entry = repository.read_journal(model_name)
    try:
        return Journal.model_validate_json(entry) if entry is not None else None
    except ValidationError as error:
        raise IntegrityError(
            f"model '{model_name}' in {repository.store.address}: its journal cannot be read ({error.error_count()} "
            f"errors, the first: {error.errors()[0]['msg']}); expected what a release wrote: mend "
            f"{repository.journal_prefix}/{model_name}.json, or, where nothing of a release is left, delete it"
        ) from error


def require_open(repository: ModelRepository, plan: ReleasePlan) -> None:
    """Raise `ReleaseTakenOver` unless a release is still its run's own.

    A run that Prefect's server did not hear from in a minute loses the model's slot without noticing, and whoever
    takes it settles what was begun: the journal is the fence that keeps the first from going on.
    """
    entry = open_entry(repository, plan.model_name)
    if entry is None or entry.plan.flow_run_id != plan.flow_run_id:
        now = f"is flow run {entry.plan.flow_run_id}'s" if entry else "is closed"
        raise ReleaseTakenOver(
            f"model '{plan.model_name}' version {plan.registry_version}: the journal of flow run {plan.flow_run_id} "
            f"{now}, expected it open; another run took this one for dead and settled it, so nothing more is changed: "
            "see `make status`, then release again"
        )


def mark_proven(repository: ModelRepository, plan: ReleasePlan, receipt: Receipt) -> Journal:
    """Write down that a release is proven: it can only be finished now. `ReleaseTakenOver` where it is not ours."""
    require_open(repository, plan)
    journal = Journal(plan=plan, receipt=receipt)
    _write(repository, journal)
    return journal


def _write(repository: ModelRepository, journal: Journal) -> None:
    repository.write_journal(journal.plan.model_name, journal.model_dump_json(indent=2))
