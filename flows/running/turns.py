"""A model's turn: its lock held for as long as a flow changes it, waited for without taking a worker's place."""

from collections.abc import Iterator
from contextlib import contextmanager, suppress

from httpx import HTTPError

from blocks.errors import ReleaseInProgress, ServiceUnavailable
from blocks.names import ModelName
from blocks.repository import ModelRepository
from flows.running.defaults import load_defaults
from flows.running.waiting import LOCK, give_place_back, waited_s, wake
from slipway.releases.lock import WAIT_S, Fence, acquire, kept, this_owner

IN_PLACE_S = 5.0
_DEFAULT_MODEL = load_defaults().deploy_model.model_name


@contextmanager
def turn_of(model_name: ModelName, repository: ModelRepository) -> Iterator[Fence]:
    """Hold a model's lock and yield the fence to put before each change.

    Some seconds are waited in place. A run that a worker started then gives its place back and is executed again
    later; another waits in its process. `ReleaseInProgress` after half an hour in all.
    """
    fence = _acquired(model_name, repository)
    try:
        with kept(fence):
            try:
                yield fence
            except Exception:
                with suppress(ServiceUnavailable):
                    fence.require()  # what else failed, failed since another has the lock by now: that is said instead
                raise
    finally:
        with suppress(HTTPError):  # who waits looks again by itself
            wake(LOCK, model_name, default_name=_DEFAULT_MODEL)


def _acquired(model_name: str, repository: ModelRepository) -> Fence:
    try:
        return acquire(model_name, repository, this_owner(), wait_s=IN_PLACE_S)
    except ReleaseInProgress as held:
        waited = waited_s(LOCK)
        if waited >= WAIT_S:
            raise
        give_place_back(LOCK, str(held))
    return acquire(model_name, repository, this_owner(), wait_s=WAIT_S - waited)
