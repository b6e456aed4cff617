"""A shell session: the steps of one release, each a process of its own, that hold the model's lock between them.

The session's id is in its plan. It takes the lock with the first step that changes something and keeps it for an hour
from the last one; `finish-release` and `settle-release` let it go.
"""

from collections.abc import Iterator
from contextlib import contextmanager

from blocks.errors import ReleaseTakenOver
from blocks.repository import ModelRepository
from blocks.run import SHELL_SESSION
from slipway.releases.lock import SESSION_S, Fence, acquire, read_entry, release, renew
from slipway.releases.plan import ReleasePlan


def hold_for_session(repository: ModelRepository, plan: ReleasePlan, begins: bool) -> Fence:
    """Return the fence of a plan's session, its hour begun anew.

    Raises `ReleaseInProgress` where another holds the lock and the session `begins`, `ReleaseTakenOver` where it was
    begun and lost the lock since.
    """
    entry = read_entry(repository.read_lock(plan.model_name))
    if entry.owner == plan.flow_run_id:
        fence = Fence(repository, plan.model_name, plan.flow_run_id, entry.epoch)
        renew(fence, SESSION_S)
        return fence
    if begins:
        return acquire(plan.model_name, repository, plan.flow_run_id, wait_s=0, lease_s=SESSION_S)
    now = f"is {entry.owner}'s" if entry.owner else "is free"
    raise ReleaseTakenOver(
        f"model '{plan.model_name}': its lock {now}, expected {plan.flow_run_id}'s, which upload-to-s3 takes for an "
        "hour from the last step; begin again with determine-version"
    )


@contextmanager
def lock_of_session(repository: ModelRepository, model_name: str) -> Iterator[Fence]:
    """Hold a model's lock for one step that settles a session, and let it go: the session's own, or a free one."""
    entry = read_entry(repository.read_lock(model_name))
    owner = entry.owner if entry.owner and entry.owner.startswith(SHELL_SESSION) else f"{SHELL_SESSION}settling"
    fence = acquire(model_name, repository, owner, wait_s=0, lease_s=SESSION_S)
    try:
        yield fence
    finally:
        release(fence)
