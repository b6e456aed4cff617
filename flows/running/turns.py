"""A model's turn: its lock held for as long as a flow changes it, waited for without taking a worker's place."""

import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress

from httpx import HTTPError

from blocks.environment import Environment, load_environment
from blocks.errors import ReleaseInProgress, ReleaseTakenOver, ServiceUnavailable
from blocks.names import ModelName
from blocks.repository import ModelRepository
from blocks.run import get_owner
from flows.running.defaults import load_defaults
from flows.running.termination import ending_when_told
from flows.running.waiting import LOCK, get_waited_s, give_place_back, wake
from slipway.releases.journal import open_journal
from slipway.releases.lock import WAIT_S, Fence, acquire, keeping, model_lock
from slipway.releases.plan import ReleasePlan
from slipway.releases.workspace import private_workspace
from tasks.deployment.settle_release import settle_release

IN_PLACE_S = 5.0
BETWEEN_S = 1.0  # who waits for the lock looks at least twice meanwhile
_DEFAULT_MODEL = load_defaults().deploy_model.model_name


@contextmanager
def turn_of(model_name: ModelName) -> Iterator[Environment]:
    """Hold a model's lock, and yield the environment behind its fence; the run's files lie in a directory of its own.

    Some seconds are waited in place. A run that a worker started then gives its place back and is executed again
    later; another waits in its process. `ReleaseInProgress` after half an hour in all.
    """
    environment = load_environment()
    with private_workspace():
        fence = _take_turn(model_name, environment.repository)
        try:
            with keeping(fence), _saying_that_it_was_lost(fence), ending_when_told():
                yield fence.around(environment)
        finally:
            with suppress(HTTPError):  # who waits looks again by itself
                wake(LOCK, model_name, default_name=_DEFAULT_MODEL)


@contextmanager
def short_turn_of(model_name: ModelName) -> Iterator[Environment]:
    """Hold a model's lock for one part of a run that goes on afterwards, and yield the environment behind its fence.

    It is waited for in place: a run that is executed again would have lost what it found. Who waits goes in between.
    """
    environment = load_environment()
    try:
        with model_lock(model_name, environment.repository) as fence, ending_when_told():
            yield fence.around(environment)
    finally:
        with suppress(HTTPError):
            wake(LOCK, model_name, default_name=_DEFAULT_MODEL)
        time.sleep(BETWEEN_S)


@contextmanager
def journaled(plan: ReleasePlan, environment: Environment) -> Iterator[None]:
    """Open the journal of a release, and undo, or finish, the release where the block fails."""
    try:
        open_journal(environment.repository, plan)
        with ending_when_told():
            yield
    except ReleaseTakenOver:
        raise
    except Exception:
        settle_release(model_name=plan.model_name, only_flow_run_id=plan.flow_run_id, environment=environment)
        raise


@contextmanager
def _saying_that_it_was_lost(fence: Fence) -> Iterator[None]:
    """Raise `ReleaseTakenOver` in the place of what else failed, which failed since another has the lock by now."""
    try:
        yield
    except Exception:
        with suppress(ServiceUnavailable):
            fence.require()
        raise


def _take_turn(model_name: str, repository: ModelRepository) -> Fence:
    try:
        return acquire(model_name, repository, get_owner(), wait_s=IN_PLACE_S)
    except ReleaseInProgress as held:
        waited = get_waited_s(LOCK)
        if waited >= WAIT_S:
            raise
        give_place_back(LOCK, str(held))
    return acquire(model_name, repository, get_owner(), wait_s=WAIT_S - waited)
