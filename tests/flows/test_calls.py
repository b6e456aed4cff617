"""How often a release asks each server: a change that adds a call has to say so here."""

import pytest

from blocks.environment import Environment
from flows.deployment import Deployment, deploy_model
from infra.local.settings import LocalStack
from slipway.releases import lock
from tests.apparatus.calls import Calls, counted_calls
from tests.apparatus.given import given
from tests.conftest import Measured

RELEASE = {"MLflow": 26, "S3": 147, "Triton": 20, "Prefect": 11}
NO_OP = {"MLflow": 20, "S3": 30, "Triton": 4, "Prefect": 10}


@pytest.fixture(autouse=True)
def never_renewed(monkeypatch: pytest.MonkeyPatch) -> None:
    """Hold the lock for as long as a release takes: how often it is renewed is a matter of time."""
    monkeypatch.setattr(lock, "LEASE_S", 600.0)


@pytest.mark.timeout(600)
def test_a_release_on_two_replicas_and_one_of_what_is_live_ask_each_server_this_often_at_most(
    stack: LocalStack, environment: Environment, model_name: str, measured: Measured
) -> None:
    model = given(environment, model_name).released(2).registered()

    with counted_calls(stack) as of_release:
        release = deploy_model(model_name)
    with counted_calls(stack) as of_nothing:
        nothing = deploy_model(model_name, return_state=True)

    assert isinstance(release, Deployment) and release.plan.registry_version == model.next
    assert nothing.name == "AlreadyLive"
    measured(f"calls of a release {of_release.total}, of one with nothing to do {of_nothing.total}")
    _assert_at_most(of_release, RELEASE)
    _assert_at_most(of_nothing, NO_OP)
    assert of_nothing.by_kind["Triton"]["infer"] == 0


def _assert_at_most(calls: Calls, limits: dict[str, int]) -> None:
    """Assert that no server was asked more often, but for what depends on time.

    Logs are sent by the second, and the live version is asked all the while its successor loads.
    """
    by_time = {"Prefect": "POST /api/logs/", "Triton": "infer"}
    counted = {server: calls[server] - calls.by_kind[server][by_time.get(server, "")] for server in limits}
    assert all(counted[server] <= limits[server] for server in limits), f"{limits}, seen:\n{calls.describe()}"
