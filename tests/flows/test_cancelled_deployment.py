"""A deployment that the worker runs and somebody cancels, or whose process is killed: as if nothing had happened."""

import time
from collections.abc import Callable, Iterator
from typing import Any
from uuid import UUID

import psutil
import pytest
from prefect.client.orchestration import get_client
from prefect.client.schemas.objects import FlowRun
from prefect.deployments import run_deployment
from prefect.states import Cancelling

from blocks.environment import Environment
from blocks.repository_layout import parse_candidate
from infra.local.settings import LocalStack
from slipway.releases.journal import read_open
from slipway.releases.serving_config import read_policy
from tests.apparatus.consistency import list_served
from tests.apparatus.given import given

pytestmark = pytest.mark.faults


@pytest.fixture
def second_replica(stack: LocalStack) -> Iterator[psutil.Process]:
    """The process of one replica, which the test may freeze."""
    listening = [c for c in psutil.net_connections("tcp") if c.laddr and c.laddr.port == stack.triton_1_grpc_port]
    process = psutil.Process(next(c.pid for c in listening if c.status == psutil.CONN_LISTEN and c.pid))
    yield process
    process.resume()


def wait_for(what: str, condition: Callable[[], Any], seconds: float = 120) -> Any:
    """Return the condition's value as soon as it is true."""
    deadline = time.monotonic() + seconds
    while not (value := condition()):
        assert time.monotonic() < deadline, f"not within {seconds} s: {what}"
        time.sleep(0.02)
    return value


def read(flow_run_id: UUID) -> FlowRun:
    """Return a flow run as it is now."""
    with get_client(sync_client=True) as client:
        return client.read_flow_run(flow_run_id)


def in_the_middle_of_a_release(environment: Environment, model_name: str, replica: psutil.Process) -> UUID:
    """Release version 1, let the worker begin with version 2, and freeze a replica before it is loaded there."""
    given(environment, model_name).released().registered()
    run: Any = run_deployment("deploy-model/local", parameters={"model_name": model_name}, timeout=0)
    prover = environment.fleet.list_addresses()[0]
    wait_for(
        "the candidate", lambda: [n for n in environment.fleet.read_index(prover) if parse_candidate(n) == model_name]
    )
    replica.suspend()
    wait_for("the commit", lambda: read_policy(environment.repository.read_config(model_name)) == (1, 2))
    flow_run_id: UUID = run.id
    return flow_run_id


def processes_of(flow_run_id: UUID) -> list[psutil.Process]:
    """Return the processes a flow run runs in."""
    everything = psutil.process_iter(["environ"])
    return [p for p in everything if (p.info["environ"] or {}).get("PREFECT__FLOW_RUN_ID") == str(flow_run_id)]


def assert_as_before(environment: Environment, model_name: str) -> None:
    wait_for("the undo", lambda: read_open(environment.repository, model_name) is None)
    assert read_policy(environment.repository.read_config(model_name)) == (1,)
    assert environment.repository.list_stored(model_name) == (1,)
    assert environment.registry.get_aliases(model_name) == {"deploy": 2, "live": 1}
    assert list_served(environment, model_name) == [
        (1,),
        (1,),
    ]


def test_a_cancelled_release_is_undone(
    environment: Environment, model_name: str, second_replica: psutil.Process
) -> None:
    flow_run_id = in_the_middle_of_a_release(environment, model_name, second_replica)

    with get_client(sync_client=True) as client:
        client.set_flow_run_state(flow_run_id, Cancelling())
    wait_for("the end of the process", lambda: not processes_of(flow_run_id))
    second_replica.resume()

    assert_as_before(environment, model_name)
    wait_for("the end of the run", lambda: read(flow_run_id).state_name == "Cancelled")


@pytest.mark.exhaustive  # the hooks are the same, and test_interrupted_deployment.py kills processes
def test_a_release_whose_process_is_killed_is_undone(
    environment: Environment, model_name: str, second_replica: psutil.Process
) -> None:
    flow_run_id = in_the_middle_of_a_release(environment, model_name, second_replica)

    for process in processes_of(flow_run_id):
        process.kill()
    second_replica.resume()

    assert_as_before(environment, model_name)
    wait_for("the end of the run", lambda: read(flow_run_id).state_name == "Crashed")
