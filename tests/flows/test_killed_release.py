"""A release whose process is killed or cancelled anywhere: the next run, or the hooks, leave it done or undone."""

import signal
from collections.abc import Callable, Iterator
from itertools import cycle
from typing import Protocol

import pytest

from blocks.environment import Environment
from flows.deployment import deploy_model
from flows.reconciliation import reconcile_models
from tests.apparatus.candidates import Candidate, borrowed, withdraw
from tests.apparatus.consistency import assert_consistent
from tests.apparatus.killing import Death, cancel, release
from tests.apparatus.locks import end_lease

pytestmark = pytest.mark.faults


class NewCandidate(Protocol):
    """Makes a model of a test's own."""

    def __call__(self, released: int) -> Candidate: ...


# Of a release that archives a version; the first test says when it does more or less than that.
POINTS = 42
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


@pytest.fixture(scope="module")
def pool(environment: Environment) -> Iterator[list[Candidate]]:
    """Models that came through a test, and are as good as new."""
    models: list[Candidate] = []
    yield models
    for candidate in models:
        withdraw(environment, candidate.model_name)


@pytest.fixture
def third(environment: Environment, pool: list[Candidate]) -> Iterator[Candidate]:
    """A model of which one version is live, one is `previous`, and the next one's release archives a version."""
    with borrowed(pool, environment) as candidate:
        yield candidate


@pytest.fixture
def new(environment: Environment) -> Iterator[NewCandidate]:
    """Make models with any number of versions released, which are gone after the test."""
    made: list[Candidate] = []

    def make(released: int) -> Candidate:
        made.append(Candidate(environment, released))
        return made[-1]

    yield make
    for candidate in made:
        withdraw(environment, candidate.model_name)


def rerun(environment: Environment, candidate: Candidate) -> None:
    """Release again, in a process that lives."""
    end_lease(environment.repository, candidate.model_name)
    deploy_model(candidate.model_name)

    assert assert_consistent(environment, candidate.model_name) == candidate.next


def reconcile(environment: Environment, candidate: Candidate) -> None:
    """Have the reconciler settle what the dead left."""
    end_lease(environment.repository, candidate.model_name)
    reconcile_models(model_names=[candidate.model_name])

    assert assert_consistent(environment, candidate.model_name) in {candidate.live or None, candidate.next}


def named(value: object) -> str:
    return getattr(value, "__name__", str(value))


MENDING = (reconcile, rerun)


def test_a_release_has_as_many_points_as_the_tests_below_kill_it_at(environment: Environment, third: Candidate) -> None:
    ending = release(third.model_name)

    assert ending.state_name == "Completed", ending.log
    assert len(ending.points) == POINTS, "\n".join(ending.points)
    assert assert_consistent(environment, third.model_name) == third.next


@pytest.mark.parametrize("point", range(POINTS))
def test_a_release_killed_at_any_point_is_mended(environment: Environment, third: Candidate, point: int) -> None:
    ending = release(third.model_name, Death(point))

    assert ending.was_killed, ending.log
    MENDING[point % 2](environment, third)


@pytest.mark.parametrize("death", WITHIN, ids=str)
def test_a_release_killed_while_a_server_works_for_it_is_mended_by_the_next_run(
    environment: Environment, third: Candidate, death: Death
) -> None:
    ending = release(third.model_name, death)

    assert ending.was_killed, ending.log
    rerun(environment, third)


CANCELLED = [*(Death(point) for point in range(0, POINTS, 3)), *WITHIN[1::2]]


@pytest.mark.parametrize("death", [death._replace(signal=signal.SIGTERM) for death in CANCELLED], ids=str)
def test_a_cancelled_release_is_finished_or_undone_when_its_hooks_have_run(
    environment: Environment, third: Candidate, death: Death
) -> None:
    ending = release(third.model_name, death)

    assert (ending.exit_code, ending.state_name) == (0, None), ending.log
    cancel(ending.flow_run_id)
    assert assert_consistent(environment, third.model_name) in {third.live, third.next}
    rerun(environment, third)


@pytest.mark.parametrize(("death", "mend"), list(zip(FIRST, cycle(MENDING), strict=False)), ids=named)
def test_a_killed_first_release_is_mended(
    environment: Environment, new: NewCandidate, death: Death, mend: Callable[[Environment, Candidate], None]
) -> None:
    candidate = new(released=0)

    ending = release(candidate.model_name, death)

    assert ending.was_killed, ending.log
    mend(environment, candidate)


@pytest.mark.parametrize(("death", "mend"), list(zip(SECOND, cycle(MENDING), strict=False)), ids=named)
def test_a_killed_second_release_is_mended(
    environment: Environment, new: NewCandidate, death: Death, mend: Callable[[Environment, Candidate], None]
) -> None:
    candidate = new(released=1)

    ending = release(candidate.model_name, death)

    assert ending.was_killed, ending.log
    mend(environment, candidate)
