"""`make demo` on the tests' stack: promoted and live on every replica."""

import os
import re
import subprocess
import sys

import pytest
from prefect.client.orchestration import get_client
from prefect.states import Completed

from blocks.environment import Environment
from flows.deployment import deploy_model
from infra.command.demo import DEPLOYMENT, show_training
from infra.errors import StackError
from infra.local import stack as local
from infra.local.settings import ROOT, LocalStack
from tests.apparatus.automations import automations_resumed
from tests.apparatus.models import register_linear

# an epoch less than by default: on two busy cores each takes a minute
SHOW = """
from infra.command.demo import show_demo
from infra.local.stack import find_current
show_demo(find_current(), epochs=2)
"""


def demo(stack: LocalStack) -> str:
    """Return what the demo prints; its servers are there already."""
    finished = subprocess.run(
        [sys.executable, "-c", SHOW],
        cwd=ROOT,
        env=os.environ | stack.environment() | {"COLUMNS": "300"},
        capture_output=True,
        text=True,
        timeout=1500,
        check=False,
    )
    assert finished.returncode == 0, finished.stdout + finished.stderr
    return finished.stdout


@pytest.mark.timeout(1800)
def test_the_demo_ends_with_what_is_live(stack: LocalStack, capsys: pytest.CaptureFixture[str]) -> None:
    with automations_resumed():
        shown = demo(stack)

    live = "resnet18-digits-onnx: version 1 is deploy and live"
    assert "model 'resnet18-digits' version 1 promoted: best_val_accuracy 0.9" in shown
    assert re.search(r"^[0-9.]+ s from the alias 'deploy' set to verified live$", shown, re.MULTILINE)
    assert live in shown
    for address in stack.triton_addresses:
        assert f"{address}: resnet18-digits-onnx version 1 ready; version 1 verified: largest difference" in shown

    # a second one, as gate 1 ends it (tests/flows/test_training.py)
    with get_client(sync_client=True) as client:
        deployed = client.read_deployment_by_name(DEPLOYMENT)
        rejected = client.create_flow_run_from_deployment(deployed.id, state=Completed(name="Rejected"))
        show_training(client, stack, rejected)
    shown = capsys.readouterr().out
    assert "Rejected after" in shown and live in " ".join(shown.split())


@pytest.mark.timeout(900)
def test_after_down_and_up_every_replica_serves_what_it_served(stack: LocalStack, environment: Environment) -> None:
    model_name = "test-down-up-onnx"
    for seed in (1, 2):
        register_linear(environment.registry, model_name, seed)
        deploy_model(model_name)

    local.down(stack)
    try:
        local.up(stack, lambda line: None)
    except StackError:
        local.up(stack, lambda line: None)  # other tests share the stack
        raise

    assert [environment.fleet.list_ready_versions(address, model_name) for address in environment.fleet.check()] == [
        (1, 2),
        (1, 2),
    ]
    assert environment.registry.get_aliases(model_name) == {"deploy": 2, "live": 2, "previous": 1}
