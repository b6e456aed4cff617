"""Memory on a GPU: what a version takes there, and whether the next one fits before it is loaded."""

from collections.abc import Sequence

from blocks.environment import Environment
from blocks.errors import IntegrityError, NoRoom, ServiceUnavailable
from blocks.fleet import TritonFleet
from blocks.replica_metrics import Gpu
from blocks.run import warn
from slipway.releases.plan import ReleasePlan
from slipway.releases.receipt import read_receipt


def look_at_gpus(fleet: TritonFleet, address: str) -> tuple[Gpu, ...]:
    """Return a replica's GPUs, none where it has none, or where nobody says so."""
    try:
        return fleet.list_gpus(address)
    except ServiceUnavailable as error:
        warn(f"memory on GPUs is not measured: {error}")
        return ()


def read_last_need(plan: ReleasePlan, environment: Environment) -> float | None:
    """Return the MiB that the version live before took on a GPU when it was released, None where nothing is known."""
    if plan.live_before is None:
        return None
    try:
        receipt = read_receipt(environment.repository, plan.model_name, plan.live_before)
    except IntegrityError:
        return None
    return receipt.candidate.gpu_memory_mib if receipt is not None and receipt.candidate is not None else None


def require_room(needed_mib: float | None, gpus: Sequence[Gpu], subject: str) -> None:
    """Raise `NoRoom` where what the last version took fits in no GPU beside what is loaded.

    It is loaded beside the last one, which serves until every replica has the next.
    """
    if not needed_mib or not gpus:
        return
    roomiest = max(gpus, key=lambda gpu: gpu.free_mib)
    if needed_mib > roomiest.free_mib:
        raise NoRoom(
            f"{subject}: not loaded, the last version took {needed_mib:.0f} MiB on its GPU and the roomiest of "
            f"{len(gpus)} has {roomiest.free_mib:.0f} MiB free of {roomiest.total_mib:.0f}; make room there, by "
            "serving fewer versions (keep_served 1) or models, then release again"
        )


def measure_growth(before: Sequence[Gpu], after: Sequence[Gpu]) -> float | None:
    """Return by how many MiB the GPUs that were there before are fuller now, None where there were none."""
    used = {gpu.uuid: gpu.used_mib for gpu in before}
    grown = [gpu.used_mib - used[gpu.uuid] for gpu in after if gpu.uuid in used]
    return max(0.0, sum(grown)) if grown else None
