"""Approval: a worker's run is suspended with nothing held, goes on after a yes, and changes nothing after a no."""

import time
from typing import Any
from uuid import UUID

import pytest
from prefect.client.orchestration import get_client
from prefect.client.schemas.objects import FlowRun
from prefect.deployments import run_deployment
from prefect.flow_runs import resume_flow_run

from blocks.environment import Environment
from blocks.errors import InvalidInput
from flows.deployment import deploy_model
from slipway.releases.journal import read_open
from slipway.releases.lock import model_lock
from slipway.releases.receipt import read_receipt
from tests.apparatus.consistency import assert_consistent
from tests.apparatus.given import Given, given

WAIT_S = 120
LET_GO_S = 30  # no longer than the lease of a lock that nobody lets go


@pytest.fixture(autouse=True)
def model(environment: Environment, model_name: str) -> Given:
    """What each test begins with: version 1 live, version 2 registered."""
    return given(environment, model_name).released().registered()


def suspended(environment: Environment, model_name: str) -> FlowRun:
    """Return a worker's run of the deployment once it waits for a person."""
    parameters: dict[str, Any] = {"model_name": model_name, "approval": True}
    flow_run: Any = run_deployment("deploy-model/local", parameters=parameters, timeout=0)
    waiting = once(flow_run.id, "Suspended")
    with model_lock(model_name, environment.repository, wait_s=LET_GO_S):  # the state comes before the letting go
        return waiting


def once(flow_run_id: UUID, *names: str) -> FlowRun:
    """Return a flow run once its state has one of the names."""
    deadline = time.monotonic() + WAIT_S
    with get_client(sync_client=True) as client:
        while (flow_run := client.read_flow_run(flow_run_id)).state_name not in names:
            assert time.monotonic() < deadline, f"{flow_run.state_name}, expected {names}: {flow_run.state}"
            time.sleep(0.5)
    return flow_run


@pytest.mark.faults
def test_a_yes_releases_the_proven_candidate_and_is_on_the_receipt(environment: Environment, model_name: str) -> None:
    flow_run = suspended(environment, model_name)

    assert assert_nothing_held(environment, model_name) == 1
    resume_flow_run(flow_run.id, {"approved": True, "approver": "Ada", "comment": "figures are fine"})
    assert once(flow_run.id, "Completed", "Failed", "Crashed").state_name == "Completed"

    assert assert_consistent(environment, model_name) == 2
    receipt = read_receipt(environment.repository, model_name, 3)  # 2 was the candidate's that waited
    assert receipt is not None and receipt.approval == "Ada: figures are fine"


@pytest.mark.exhaustive
@pytest.mark.faults
def test_a_no_leaves_the_live_version(environment: Environment, model_name: str) -> None:
    flow_run = suspended(environment, model_name)

    resume_flow_run(flow_run.id, {"approved": False, "approver": "Ada"})
    ended = once(flow_run.id, "Completed", "Failed", "Crashed")

    assert ended.state_name == "Failed" and "Ada said no" in str(ended.state and ended.state.message)
    assert assert_consistent(environment, model_name) == 1


def test_a_run_that_cannot_be_suspended_is_refused_and_undone(environment: Environment, model_name: str) -> None:
    with pytest.raises(InvalidInput, match="run without a deployment, which cannot be suspended"):
        deploy_model(model_name, approval=True)

    assert assert_consistent(environment, model_name) == 1


def assert_nothing_held(environment: Environment, model_name: str) -> int | None:
    """Prove that a waiting run holds neither lock nor journal nor replica; return what is live."""
    with model_lock(model_name, environment.repository, wait_s=0):
        assert read_open(environment.repository, model_name) is None
    for address in environment.fleet.list_addresses():
        assert [name for name in environment.fleet.read_index(address) if model_name in name] == [model_name]
    return environment.registry.get_aliases(model_name)["live"]
