"""The work pools: on Kubernetes their base job templates, filled in for one cluster, and everywhere their queues."""

import json
from pathlib import Path
from typing import Any

from prefect.client.orchestration import SyncPrefectClient
from prefect.client.schemas.actions import WorkPoolCreate, WorkPoolUpdate
from prefect.exceptions import ObjectAlreadyExists, ObjectNotFound

from blocks.errors import InvalidInput
from flows.running.elsewhere import DEADLINE_S
from infra.setup.queues import apply_queues
from infra.setup.settings import ClusterSettings

TEMPLATES = Path(__file__).resolve().parents[1] / "pools"
POOLS = ("cpu", "gpu")
LOCAL = "local"


def apply_pools(client: SyncPrefectClient, settings: ClusterSettings) -> None:
    """Create the pools or bring their templates and limits up to date."""
    for variable, given in (("VARIABLES", settings.pool_variables), ("LIMITS", settings.pool_limits)):
        if unknown := sorted(given.keys() - set(POOLS)):
            raise InvalidInput(f"SLIPWAY_POOL_{variable}: unknown pools {unknown}; there are {list(POOLS)}")
    for name in POOLS:
        template, limit = fill_template(name, settings), settings.pool_limits.get(name)
        pool = WorkPoolCreate(name=name, type="kubernetes", base_job_template=template, concurrency_limit=limit)
        try:
            client.create_work_pool(pool)
        except ObjectAlreadyExists:
            client.update_work_pool(name, WorkPoolUpdate(base_job_template=template, concurrency_limit=limit))
    apply_queues(client, "cpu", settings.pool_limits.get("cpu"))


def apply_local_queues(client: SyncPrefectClient) -> None:
    """Bring the queues of the process pool up to date with its limit; `InvalidInput` where there is no such pool."""
    try:
        pool = client.read_work_pool(LOCAL)
    except ObjectNotFound as error:
        raise InvalidInput(
            f"work pool '{LOCAL}': there is none; `make up` makes it, elsewhere `prefect work-pool create {LOCAL} "
            "--type process`"
        ) from error
    apply_queues(client, LOCAL, pool.concurrency_limit)


def fill_template(pool: str, settings: ClusterSettings) -> dict[str, Any]:
    """Return a pool's base job template with this cluster's defaults; `InvalidInput` for an unknown variable."""
    template: dict[str, Any] = json.loads((TEMPLATES / f"{pool}.json").read_text())
    properties = template["variables"]["properties"]
    defaults = {"namespace": settings.namespace, "service_account_name": settings.service_account}
    for variable, default in (defaults | settings.pool_variables.get(pool, {})).items():
        if variable not in properties:
            raise InvalidInput(
                f"SLIPWAY_POOL_VARIABLES: pool '{pool}' has no variable '{variable}', expected one of "
                f"{sorted(properties)}"
            )
        properties[variable]["default"] = default
    _check_deadline(pool, properties["active_deadline_seconds"]["default"])
    return template


def _check_deadline(pool: str, deadline_s: int) -> None:
    """Refuse a pool whose runs may take longer than a parent follows them."""
    if pool == "gpu" and deadline_s > DEADLINE_S:
        raise InvalidInput(
            f"SLIPWAY_POOL_VARIABLES: pool '{pool}', active_deadline_seconds: {deadline_s} > {DEADLINE_S:.0f}, "
            "which is how long train-model follows a training; set a shorter one"
        )
