"""The pointer that commits: config.pbtxt, written only over what this run read or wrote itself."""

from blocks.errors import VersionConflict
from blocks.repository import ModelRepository
from blocks.repository_layout import Commit
from slipway.releases.dependencies import record_dependents, require_needed
from slipway.releases.pins import read_pins
from slipway.releases.plan import ReleasePlan
from slipway.releases.serving_config import read_policy


def read_committed(repository: ModelRepository, model_name: str) -> tuple[int, ...]:
    """Return the versions the policy of now names, none where nothing is committed."""
    return read_policy(repository.read_config(model_name))


def commit_plan(repository: ModelRepository, plan: ReleasePlan, config: str) -> None:
    """Commit what a plan serves: from here on a replica that starts serves it.

    Raises `VersionConflict` where config.pbtxt is not what the plan was made on, `InvalidInput` where an ensemble calls
    a version that would go, or calls itself one that has gone, `ReleaseTakenOver` where another writes it at the same
    moment.
    """
    require_needed(plan, repository)
    record_dependents(plan.model_name, read_pins(config), repository)
    found = repository.read_commit(plan.model_name)
    if not _is_ours(found, plan) and _get_config(found) != plan.config_before:
        raise VersionConflict(
            f"model '{plan.model_name}' in {repository.store.address}: config.pbtxt was changed after this release was "
            "planned, expected it as it was; nobody's change is overwritten: release again"
        )
    etag = found.etag if found is not None else None
    repository.commit(plan.model_name, config, after=etag, epoch=plan.epoch, owner=plan.flow_run_id)


def restore_pointer(repository: ModelRepository, plan: ReleasePlan) -> bool:
    """Take back what a release committed; tell whether the policy of before is committed now.

    Where it is not, another release, or a person, committed something else since: that stands.
    """
    found = repository.read_commit(plan.model_name)
    if _get_config(found) == plan.config_before:
        return True
    if found is not None and _is_ours(found, plan):
        owner = f"undo-of-{plan.flow_run_id}"
        repository.commit(plan.model_name, plan.config_before, after=found.etag, epoch=plan.epoch, owner=owner)
        return True
    return read_policy(_get_config(found)) == plan.served_before


def _is_ours(found: Commit | None, plan: ReleasePlan) -> bool:
    if found is None:
        return False
    # before there were epochs nothing in the file said whose it was
    return found.owner == plan.flow_run_id or (found.owner is None and plan.epoch == 0)


def _get_config(found: Commit | None) -> str | None:
    return found.config if found is not None else None
