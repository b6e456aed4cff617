"""Step 5, reload-triton: every replica, one after the other, loads what was committed."""

import time

from prefect import task
from prefect.cache_policies import NO_CACHE
from pydantic import BaseModel, ConfigDict

from blocks.errors import LoadFailed
from blocks.fleet import TritonFleet
from blocks.names import ModelName


class LoadedReplica(BaseModel):
    """A replica that serves the committed versions."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    address: str
    versions: tuple[int, ...]
    load_s: float


@task(name="reload-triton", task_run_name="reload-triton", cache_policy=NO_CACHE)
def reload_triton(model_name: ModelName, serves: tuple[int, ...], *, fleet: TritonFleet) -> tuple[LoadedReplica, ...]:
    """Load a model on every replica and prove that each serves exactly these versions.

    Raises `LoadFailed` where a replica refuses or serves something else: a load that is answered with success
    proves nothing.
    """
    return tuple(_reloaded(fleet, address, model_name, serves) for address in fleet.check())


def _reloaded(fleet: TritonFleet, address: str, model_name: str, serves: tuple[int, ...]) -> LoadedReplica:
    start = time.perf_counter()
    fleet.load_model(address, model_name)
    unready = [version for version in serves if not fleet.is_ready(address, model_name, version)]
    served = fleet.ready_versions(address, model_name)
    if unready or served != tuple(sorted(serves)):
        raise LoadFailed(
            f"model '{model_name}' on Triton {address}: serves versions {list(served)}, expected {sorted(serves)}; "
            "see that server's log"
        )
    return LoadedReplica(address=address, versions=served, load_s=time.perf_counter() - start)
