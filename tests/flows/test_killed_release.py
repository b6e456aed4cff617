"""A release whose process is killed or cancelled anywhere: the next run, or the hooks, leave it done or undone."""

import signal
from collections.abc import Callable
from itertools import cycle

import pytest

from blocks.environment import Environment
from flows.deployment import deploy_model
from flows.reconciliation import reconcile_models
from tests.apparatus.consistency import assert_consistent
from tests.apparatus.given import CUT_OFF_BYTES, Given, given
from tests.apparatus.killing import Death, cancel, release
from tests.apparatus.locks import end_lease
from tests.apparatus.thinning import keep_one_in

pytestmark = pytest.mark.faults


# Of a release that archives a version; the first test says when it does more or less than that.
POINTS = 44
WITHIN = [
    Death("ObjectStore.upload", within=True),
    Death("TritonFleet.load_model", within=True),  # the candidate
    Death("TritonFleet.load_model", nth=2, within=True),
    Death("TritonFleet.load_model", nth=3, within=True),
    Death("ModelRegistry.set_alias", within=True),
    Death("ModelRegistry.set_alias", nth=2, within=True),
    Death("finish-release ends"),
]
FIRST = [
    Death("prove-candidate"),
    Death("commit-version"),
    Death("reload-triton"),
    Death("ModelRegistry.set_alias"),
    Death("finish-release"),
]
SECOND = [
    Death("ObjectStore.upload"),
    Death("TritonFleet.load_model", within=True),
    Death("TritonFleet.load_model", nth=3),
    Death("ModelRegistry.set_alias", nth=2),
    Death("ModelRegistry.tag_version", nth=2),  # the first says that the alias was answered
]


def rerun(environment: Environment, model: Given) -> None:
    """Release again, in a process that lives."""
    end_lease(environment.repository, model.model_name)
    deploy_model(model.model_name)

    assert assert_consistent(environment, model.model_name) == model.next


def reconcile(environment: Environment, model: Given) -> None:
    """Have the reconciler settle what the dead left."""
    end_lease(environment.repository, model.model_name)
    reconcile_models(model_names=[model.model_name])

    assert assert_consistent(environment, model.model_name) in {model.live or None, model.next}


def named(value: object) -> str:
    return getattr(value, "__name__", str(value))


MENDING = (reconcile, rerun)


def test_a_release_has_as_many_points_as_the_tests_below_kill_it_at(environment: Environment, third: Given) -> None:
    ending = release(third.model_name)

    assert ending.state_name == "Completed", ending.log
    assert len(ending.points) == POINTS, "\n".join(ending.points)
    assert assert_consistent(environment, third.model_name) == third.next


@pytest.mark.parametrize("point", keep_one_in(21, range(POINTS), first=11))
def test_a_release_killed_at_any_point_is_mended(environment: Environment, third: Given, point: int) -> None:
    ending = release(third.model_name, Death(point))

    assert ending.was_killed, ending.log
    MENDING[point % 2](environment, third)


@pytest.mark.parametrize("death", keep_one_in(7, WITHIN, first=5), ids=str)
def test_a_release_killed_while_a_server_works_for_it_is_mended_by_the_next_run(
    environment: Environment, third: Given, death: Death
) -> None:
    ending = release(third.model_name, death)

    assert ending.was_killed, ending.log
    rerun(environment, third)


CANCELLED = [
    death._replace(signal=signal.SIGTERM) for death in (*(Death(point) for point in range(0, POINTS, 3)), *WITHIN[1::2])
]


@pytest.mark.parametrize("death", keep_one_in(18, CANCELLED, first=9), ids=str)
def test_a_cancelled_release_is_finished_or_undone_when_its_hooks_have_run(
    environment: Environment, third: Given, death: Death
) -> None:
    ending = release(third.model_name, death)

    assert (ending.exit_code, ending.state_name) == (0, None), ending.log
    cancel(ending.flow_run_id)
    assert assert_consistent(environment, third.model_name) in {third.live, third.next}
    rerun(environment, third)


@pytest.mark.parametrize(("death", "mend"), keep_one_in(5, zip(FIRST, cycle(MENDING), strict=False)), ids=named)
def test_a_killed_first_release_is_mended(
    environment: Environment, model_name: str, death: Death, mend: Callable[[Environment, Given], None]
) -> None:
    model = given(environment, model_name, CUT_OFF_BYTES).registered()

    ending = release(model.model_name, death)

    assert ending.was_killed, ending.log
    mend(environment, model)


@pytest.mark.parametrize(
    ("death", "mend"), keep_one_in(5, zip(SECOND, cycle(MENDING), strict=False), first=1), ids=named
)
def test_a_killed_second_release_is_mended(
    environment: Environment, model_name: str, death: Death, mend: Callable[[Environment, Given], None]
) -> None:
    model = given(environment, model_name, CUT_OFF_BYTES).released().registered()

    ending = release(model.model_name, death)

    assert ending.was_killed, ending.log
    mend(environment, model)
