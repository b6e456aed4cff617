"""`slipway setup`: put into Prefect what the flows need: blocks, work pools, deployments, automations."""

from typing import Literal

from prefect.client.orchestration import get_client

from blocks.environment import load_block
from blocks.repository import ModelRepository
from infra.setup.automations import apply_automations
from infra.setup.blocks import Addresses, register_blocks
from infra.setup.deployments import apply_deployments
from infra.setup.pools import apply_local_queues, apply_pools
from infra.setup.settings import AlertSettings, ClusterSettings


def set_up(world: Literal["local", "kubernetes"], *, only: Literal["blocks", "deployments"] | None = None) -> int:
    """Set one world up, as often as you like: the deployments FLOW/local, or FLOW/kubernetes on the pools cpu and gpu.

    Parameters
    ----------
    world
        Where the flows are to run.
    only
        Do only this part: blocks, or deployments with pools and automations.
    """
    if only != "deployments":
        register_blocks(Addresses())
        repository = load_block(ModelRepository)
        repository.store.check_conditions(f"{repository.locks_prefix}/.")
    return 0 if only == "blocks" else _deploy(world)


def _deploy(world: Literal["local", "kubernetes"]) -> int:
    """Apply pools, automations and deployments; return the status of `prefect deploy`."""
    with get_client(sync_client=True) as client:
        if world == "kubernetes":
            apply_pools(client, ClusterSettings())
        else:
            apply_local_queues(client)
        apply_automations(client, AlertSettings())
        return apply_deployments(client, world)
