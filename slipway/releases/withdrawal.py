"""Withdrawal: a model is taken out of service, on every replica, and its files out of Triton's sight."""

from blocks.environment import Environment
from blocks.errors import ForeignModel, InvalidInput, NotRegistered
from blocks.repository import ModelRepository
from slipway.releases.aliases import bring_aliases
from slipway.releases.attempts import Attempts
from slipway.releases.dependencies import align_dependents, list_needed
from slipway.releases.replicas import bring_to


def withdraw(model_name: str, environment: Environment) -> tuple[int, ...]:
    """Take a model out of service and return its versions that are archived; again: nothing is changed.

    First nothing is committed any more, so that no replica that starts serves it; then every replica lets it go; then
    its files are archived and `live` and `previous` removed. Its records, and so its numbers, stay. The caller holds
    the model's lock.

    Raises `ForeignModel` where slipway has no record of it, `InvalidInput` where a live ensemble calls it,
    `ServiceUnavailable` where a replica does not answer: the others have let it go then.
    """
    repository, fleet, attempts = environment.repository, environment.fleet, Attempts()
    _require_withdrawable(model_name, repository)
    if (committed := repository.read_commit(model_name)) is not None:
        repository.commit(model_name, None, after=committed.etag)
    for address in fleet.addresses():
        with attempts.trying():
            bring_to((), model_name, address, fleet)
    with attempts.trying():
        repository.archive_all(model_name)
    with attempts.trying():
        align_dependents(model_name, repository)
    with attempts.trying():
        _remove_aliases(model_name, environment)
    attempts.raise_first()
    return repository.versions(model_name).archive


def _remove_aliases(model_name: str, environment: Environment) -> None:
    try:
        bring_aliases(environment.registry, environment.repository, model_name, {})
    except NotRegistered:
        return


def _require_withdrawable(model_name: str, repository: ModelRepository) -> None:
    if not repository.recorded_versions(model_name):
        raise ForeignModel(
            f"model '{model_name}' in {repository.store.address}: slipway has no record of releasing it, expected a "
            "model of its own; adopt it first: nothing was touched"
        )
    callers = sorted({caller for names in list_needed(repository, model_name).values() for caller in names})
    if callers:
        raise InvalidInput(
            f"model '{model_name}': is called by {' and '.join(callers)}, expected nobody to; withdraw {callers[0]} "
            "first, or release it without this model"
        )
