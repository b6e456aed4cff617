"""A run that was paused for longer than its lease, anywhere, and comes back changes nothing more."""

import signal

import pytest

from blocks.environment import Environment
from flows.deployment import deploy_model
from flows.reconciliation import reconcile_models
from tests.apparatus.consistency import assert_consistent, observed
from tests.apparatus.given import Given
from tests.apparatus.killing import Death, StartedRelease, release
from tests.apparatus.locks import end_lease
from tests.apparatus.thinning import keep_one_in
from tests.flows.test_killed_release import POINTS

pytestmark = pytest.mark.faults

UNDO_POINTS = 8


def everything(environment: Environment, model_name: str) -> dict[str, object]:
    """Return all that a late run could change: what a release changes, tags and records."""
    records = environment.repository.store.list_keys(f"records/{model_name}/")
    contents = {key: environment.repository.store.read(key) for key in records if key.endswith(".json")}
    tags = list(environment.registry.list_versions(model_name))
    return observed(environment, model_name) | {"records": records, "contents": contents, "tags": tags}


def come_late(environment: Environment, model: Given, late: StartedRelease, release_another: bool) -> str | None:
    """Take the lock over while a run is stopped, let another settle it, or release, and return what the run says."""
    late.wait_until_stopped()
    end_lease(environment.repository, model.model_name)
    reconcile_models(model_names=[model.model_name])
    if release_another:
        deploy_model(model.model_name, source=f"version:{model.live}")
    before = everything(environment, model.model_name)

    late.go_on()
    ending = late.wait()

    assert everything(environment, model.model_name) == before, ending.log
    assert_consistent(environment, model.model_name)
    assert ending.state_name == "Failed", ending.log
    return ending.message


@pytest.mark.parametrize("point", keep_one_in(22, range(POINTS), first=16))
def test_a_release_that_lost_its_lock_at_any_point_changes_nothing_more(
    environment: Environment, third: Given, point: int
) -> None:
    late = StartedRelease(third.model_name, Death(point, signal=signal.SIGSTOP))

    message = come_late(environment, third, late, release_another=point % 3 == 2)

    assert "ReleaseTakenOver" in (message or "")


@pytest.mark.parametrize("point", keep_one_in(8, range(UNDO_POINTS), first=6))
def test_an_undo_that_lost_its_lock_at_any_point_changes_nothing_more(
    environment: Environment, third: Given, point: int
) -> None:
    assert release(third.model_name, Death("verify-deployment")).was_killed
    end_lease(environment.repository, third.model_name)
    late = StartedRelease(third.model_name, Death(point, signal=signal.SIGSTOP), source=f"version:{third.next}")

    message = come_late(environment, third, late, release_another=point // 2 % 2 == 1)

    assert "ReleaseTakenOver" in (message or "")
