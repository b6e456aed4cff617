"""Undo a release: the repository, every replica and the aliases go back to what the journal says was before."""

from prefect import task
from prefect.cache_policies import NO_CACHE

from blocks.errors import LoadFailed, ServiceUnavailable, SlipwayError
from blocks.fleet import TritonFleet
from blocks.names import ModelName
from blocks.registry import ModelRegistry
from blocks.repository import ModelRepository
from tasks.deployment.plan import ReleasePlan, close_release, unfinished_release
from tasks.deployment.update_aliases import LIVE, PREVIOUS, move_aliases


@task(name="undo-release", task_run_name="undo-release", cache_policy=NO_CACHE)
def undo_release(
    model_name: ModelName,
    only_flow_run_id: str | None = None,
    *,
    registry: ModelRegistry,
    repository: ModelRepository,
    fleet: TritonFleet,
) -> ReleasePlan | None:
    """Undo a model's unfinished release and return its plan, None where there was nothing to undo.

    Undoing twice, or after a failure half way, does no harm: every step states what is to be, not what to change.
    A replica that cannot be brought back raises, and the journal stays open for the next run.

    Args:
        model_name: the model.
        only_flow_run_id: undo only a release this flow run began.
        registry: where the aliases are.
        repository: where the journal, the policy and the files are.
        fleet: the replicas.
    """
    plan = unfinished_release(repository, model_name)
    if plan is None or only_flow_run_id not in {None, plan.flow_run_id}:
        return None
    repository.commit(model_name, plan.config_before)
    before = {alias: version for alias, version in plan.aliases_before.items() if alias in {LIVE, PREVIOUS}}
    move_aliases(registry, model_name, registry.aliases(model_name), before)
    _restore_replicas(plan, fleet)
    if plan.creates_version:
        repository.remove(model_name, plan.version)
    close_release(repository, plan)
    return plan


def _restore_replicas(plan: ReleasePlan, fleet: TritonFleet) -> None:
    """Make every replica serve what it served; the first that cannot does not keep the others from it."""
    failed: list[SlipwayError] = []
    for address in fleet.addresses():
        try:
            if plan.config_before is None:
                fleet.unload_model(address, plan.model_name)
            else:
                fleet.load_model(address, plan.model_name)
        except (LoadFailed, ServiceUnavailable) as error:
            failed.append(error)
    if failed:
        raise failed[0]
