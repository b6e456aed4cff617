"""docs/migrating/argo.md: each of its command lines, as pods have them, a folder a step and no other hand-over."""

import json

import pytest

from blocks.environment import Environment
from infra.local.settings import LocalStack
from tests.apparatus.given import given
from tests.infra.command.scripts.conftest import BUCKET, Call, Shell, read_commands


def test_the_commands_of_the_workflow_template_release_a_model(
    stack: LocalStack,
    environment: Environment,
    model_name: str,
    shell: Shell,
    call: Call,
    triton_url: str,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    given(environment, model_name).registered()
    monkeypatch.setenv("TRITON_MODEL_REPO", f"s3://{BUCKET}")
    monkeypatch.setenv("ARGO_WORKFLOW_NAME", "deploy-resnet18-xsg5k")
    lines = read_commands("argo.md", model_name, stack.mlflow_url, triton_url)

    ended = [call(line.removeprefix("python -m tasks ")) for line in lines]

    assert [found.code for found in ended] == [0] * 7, ended
    metadata = json.loads(shell.read("artifacts/metadata.json"))
    assert metadata["triton"]["deployed_by"].startswith("deploy-resnet18-xsg5k shell-")
    assert metadata["mlflow"]["alias_at_deploy"] == "version:1"
    assert shell.read("reload/loaded_version.txt") == "3"
    assert json.loads(shell.read("verify/verification_result.json"))["all_successful"]
    served = {environment.fleet.ready_versions(address, model_name) for address in environment.fleet.addresses()}
    assert served == {(3,)}
