"""A deployment whose process dies: its retry goes on where it stopped, and another run undoes it first."""

import subprocess
import sys
import uuid
from typing import Any
from uuid import UUID

import pytest
from prefect.client.orchestration import get_client
from prefect.flow_engine import run_flow
from prefect.states import Crashed, Pending

from blocks.environment import Environment
from flows import deployment
from flows.deployment import deploy_model
from flows.running.hooks import settle_what_was_begun
from infra.local.settings import ROOT
from slipway.releases.journal import read_open
from slipway.releases.serving_config import read_policy
from slipway.releases.settlement import settle
from tests.apparatus.consistency import assert_consistent, list_served
from tests.apparatus.given import given
from tests.apparatus.runs import Step, steps_of
from tests.apparatus.thinning import keep

# The step named in argv kills its own process, as a lost node would.
DYING = """
import os, signal, sys
import flows.deployment as module
from prefect.client.orchestration import get_client
from prefect.flow_engine import run_flow

def die(*args, **kwargs):
    os.kill(os.getpid(), signal.SIGKILL)

die.submit = die
setattr(module, sys.argv[1], die)
with get_client(sync_client=True) as client:
    flow_run = client.read_flow_run(sys.argv[2])
run_flow(module.deploy_model, flow_run=flow_run, parameters=flow_run.parameters)
"""


def killed_before(step: str, model_name: str) -> UUID:
    """Run the flow in a process that is killed when it comes to `step`; return the flow run."""
    with get_client(sync_client=True) as client:
        flow_run = client.create_flow_run(
            deploy_model, parameters={"model_name": model_name, "source": "alias:deploy"}, state=Pending()
        )
        command = [sys.executable, "-c", DYING, step, str(flow_run.id)]
        finished = subprocess.run(command, cwd=ROOT, capture_output=True, timeout=120, check=False)
        assert finished.returncode == -9, finished.stderr.decode()
        return flow_run.id


def retried(flow_run_id: UUID) -> dict[str, Step]:
    """Run a flow run again, as a retry does, and return its steps."""
    with get_client(sync_client=True) as client:
        client.set_flow_run_state(flow_run_id, Pending(), force=True)
        flow_run = client.read_flow_run(flow_run_id)
    state: Any = run_flow(deploy_model, flow_run=flow_run, parameters=flow_run.parameters, return_type="state")
    assert state.is_completed(), state.message
    return steps_of(flow_run_id)


@pytest.mark.exhaustive  # the cluster's tests evict a pod after a step
def test_a_run_that_dies_after_the_upload_and_is_retried_does_not_fetch_and_upload_again(
    environment: Environment, model_name: str
) -> None:
    given(environment, model_name).registered()
    flow_run_id = killed_before("reload_triton", model_name)
    written = environment.repository.store.get_modified(f"repository/{model_name}/1/model.onnx")
    assert read_open(environment.repository, model_name)

    steps = retried(flow_run_id)

    assert steps["fetch-model"].state_name == "Cached"
    assert steps["prepare-artifacts"].state_name == "Cached"
    assert environment.repository.store.get_modified(f"repository/{model_name}/1/model.onnx") == written
    assert environment.repository.list_stored(model_name) == (1,)
    assert list_served(environment, model_name) == [
        (1,),
        (1,),
    ]
    assert environment.registry.get_aliases(model_name)["live"] == 1
    assert read_open(environment.repository, model_name) is None


def test_a_run_that_dies_half_way_is_undone_by_the_next_one(environment: Environment, model_name: str) -> None:
    given(environment, model_name).released().registered()
    killed_before("update_aliases", model_name)
    assert read_policy(environment.repository.read_config(model_name)) == (1, 2)

    deploy_model(model_name, source="version:1")

    assert read_policy(environment.repository.read_config(model_name)) == (1,)
    assert list_served(environment, model_name) == [
        (1,),
        (1,),
    ]
    assert environment.registry.get_aliases(model_name)["live"] == 1
    assert environment.repository.list_stored(model_name) == (1,)


def test_the_hooks_undo_what_their_own_run_began_and_nothing_else(environment: Environment, model_name: str) -> None:
    given(environment, model_name).registered()
    flow_run_id = killed_before("reload_triton", model_name)
    with get_client(sync_client=True) as client:
        mine = client.read_flow_run(flow_run_id)
    other = mine.model_copy(update={"id": uuid.uuid4()})
    without_parameters = mine.model_copy(update={"parameters": {}})

    for flow_run in (other, without_parameters):
        settle_what_was_begun(deploy_model, flow_run, Crashed())
        assert read_open(environment.repository, model_name)
    settle_what_was_begun(deploy_model, mine, Crashed())

    assert read_open(environment.repository, model_name) is None
    assert environment.repository.read_config(model_name) is None
    assert environment.repository.list_stored(model_name) == ()


@pytest.mark.parametrize("step", keep({"prove": "prove_candidate", "reload": "reload_triton"}, {"reload"}))
def test_a_run_that_was_taken_for_dead_changes_nothing_more(
    environment: Environment, model_name: str, monkeypatch: pytest.MonkeyPatch, step: str
) -> None:
    given(environment, model_name).released().registered()
    done = getattr(deployment, step)

    def settled_by_another_after(*args: Any, **kwargs: Any) -> Any:
        outcome = done(*args, **kwargs)
        settle(model_name, environment)
        return outcome

    monkeypatch.setattr(deployment, step, settled_by_another_after)
    state: Any = deploy_model(model_name, return_state=True)

    assert state.is_failed()
    assert "ReleaseTakenOver" in state.message
    assert assert_consistent(environment, model_name) == 1
