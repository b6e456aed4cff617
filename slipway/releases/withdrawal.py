"""Withdrawal: a model is taken out of service, on every replica; its versions go to the archive, its records stay."""

from blocks.environment import Environment
from blocks.errors import ForeignModel, InvalidInput, NotRegistered
from blocks.repository import ModelRepository
from slipway.releases.aliases import bring_aliases
from slipway.releases.attempts import Attempts
from slipway.releases.dependencies import align_dependents, list_needed
from slipway.releases.lock import WAIT_S, model_lock
from slipway.releases.replicas import bring_to
from slipway.releases.serving_config import read_policy
from slipway.releases.settlement import is_left_to_settle, settle


def withdraw(model_name: str, environment: Environment, *, force: bool = False, wait_s: float = WAIT_S) -> None:
    """Take a model out of service under its lock; again: nothing is changed.

    What another run left of the model is settled first. Then nothing is committed any more, so that no replica that
    starts serves it; every replica lets it go; its files are archived, `live` and `previous` removed.

    Raises `ForeignModel` where slipway has no record of it, `InvalidInput` where it is live and `force` is not given,
    or where a live ensemble calls it, `ServiceUnavailable` where a replica does not answer: the others have let it go
    then.
    """
    with model_lock(model_name, environment.repository, wait_s=wait_s) as fence:
        fenced = fence.around(environment)
        if is_left_to_settle(model_name, fenced):
            settle(model_name, fenced)
        _require_withdrawable(model_name, fenced.repository, force)
        _carry_out(model_name, fenced)


def _carry_out(model_name: str, environment: Environment) -> None:
    repository, fleet, attempts = environment.repository, environment.fleet, Attempts()
    if (committed := repository.read_commit(model_name)) is not None:
        repository.commit(model_name, None, after=committed.etag)
    for address in fleet.addresses():
        with attempts.trying():
            bring_to((), model_name, address, fleet)
    with attempts.trying():
        for version in repository.versions(model_name).repository:
            repository.archive(model_name, version)
        repository.archive_beside(model_name)
    with attempts.trying():
        align_dependents(model_name, repository)
    with attempts.trying():
        _remove_aliases(model_name, environment)
    attempts.raise_first()


def _remove_aliases(model_name: str, environment: Environment) -> None:
    try:
        bring_aliases(environment.registry, environment.repository, model_name, {})
    except NotRegistered:
        return


def _require_withdrawable(model_name: str, repository: ModelRepository, force: bool) -> None:
    if not repository.recorded_versions(model_name):
        raise ForeignModel(
            f"model '{model_name}' in {repository.store.address}: slipway has no record of releasing it, expected a "
            "model of its own; adopt it first: nothing was touched"
        )
    if (served := read_policy(repository.read_config(model_name))) and not force:
        raise InvalidInput(
            f"model '{model_name}': version {max(served)} is live, and its clients would get errors; take it out of "
            "service with force, or roll it back"
        )
    callers = sorted({caller for names in list_needed(repository, model_name).values() for caller in names})
    if callers:
        raise InvalidInput(
            f"model '{model_name}': is called by {' and '.join(callers)}, expected nobody to; withdraw {callers[0]} "
            "first, or release it without this model"
        )
