"""Whose turn it is, for a step from a shell: the lock it holds while it changes something of a model.

The plan carries a session from step to step: upload-to-s3 takes the lock, each later step begins its hour anew, and
finish-release lets it go, as settle-release does.
"""

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any

from blocks.environment import Environment
from blocks.fence import Fenced
from blocks.repository import ModelRepository
from infra.command.steps import Turn
from slipway.releases.lock import Fence, model_lock, release
from slipway.releases.plan import ReleasePlan
from slipway.releases.session import hold_for_session, lock_of_session


@contextmanager
def take_turn(
    turn: Turn, values: dict[str, Any], systems: Mapping[str, Any]
) -> Iterator[tuple[dict[str, Any], Mapping[str, Any]]]:
    """Hold the lock that a step needs; yield its values, the plan in the lock's epoch, and its systems behind it."""
    if turn is Turn.NONE:
        yield values, systems
        return
    plan = values.get("plan") and ReleasePlan.model_validate(values["plan"])
    with _hold(turn, plan, values, _find_repository(systems)) as fence:
        current = {"plan": plan.model_copy(update={"epoch": fence.epoch})} if plan else {}
        yield values | current, {name: _put_behind(fence, system) for name, system in systems.items()}


@contextmanager
def _hold(
    turn: Turn, plan: ReleasePlan | None, values: Mapping[str, Any], repository: ModelRepository
) -> Iterator[Fence]:
    if turn is Turn.SETTLES:
        with lock_of_session(repository, values["model_name"]) as fence:
            yield fence
    elif plan is None:
        with model_lock(values["model_name"], repository, wait_s=0) as fence:
            yield fence
    else:
        fence = hold_for_session(repository, plan, begins=turn is Turn.BEGINS)
        yield fence
        if turn is Turn.ENDS:
            release(fence)


def _find_repository(systems: Mapping[str, Any]) -> ModelRepository:
    """Return the repository a step works with: the store that the lock is in."""
    for system in systems.values():
        if isinstance(system, Environment):
            return system.repository
    return next(system for system in systems.values() if isinstance(system, ModelRepository))


def _put_behind(fence: Fence, system: Any) -> Any:
    if isinstance(system, Environment):
        return fence.around(system)
    return system.behind(fence.require) if isinstance(system, Fenced) else system
