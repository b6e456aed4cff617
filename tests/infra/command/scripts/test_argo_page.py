"""docs/migrating/argo.md: each of its command lines, as pods have them, a folder a step and no other hand-over."""

import json
import re
from functools import reduce
from pathlib import Path
from typing import Any

import pytest
from prefect import Flow

from blocks.environment import Environment
from flows.deployment import deploy_model
from flows.training import train_model
from infra.command.scripts.places import find_registry
from infra.local.settings import ROOT, LocalStack
from tests.apparatus.consistency import list_served
from tests.apparatus.given import given
from tests.infra.command.scripts.conftest import BUCKET, Call, Shell, read_commands


def test_the_commands_of_the_workflow_template_release_a_model(
    stack: LocalStack,
    environment: Environment,
    model_name: str,
    shell: Shell,
    call: Call,
    triton_url: str,
) -> None:
    given(environment, model_name).registered()
    shell.variables |= {"TRITON_MODEL_REPO": f"s3://{BUCKET}", "ARGO_WORKFLOW_NAME": "deploy-resnet18-xsg5k"}
    lines = read_commands("argo.md", model_name, stack.mlflow_url, triton_url)

    ended = [call(line.removeprefix("python -m tasks ")) for line in lines]

    assert [found.code for found in ended] == [0] * 7, ended
    metadata = json.loads(shell.read("artifacts/metadata.json"))
    assert metadata["triton"]["deployed_by"].startswith("deploy-resnet18-xsg5k shell-")
    assert metadata["mlflow"]["alias_at_deploy"] == "version:1"
    assert shell.read("reload/loaded_version.txt") == "3"
    assert json.loads(shell.read("verify/verification_result.json"))["all_successful"]
    served = set(list_served(environment, model_name))
    assert served == {(3,)}


@pytest.mark.exhaustive  # tests/flows/test_training.py runs the same steps, test_scripts_page.py others by commands
def test_the_commands_of_the_training_template_train_promote_export_and_validate(
    tmp_path: Path, shell: Shell, call: Call
) -> None:
    shell.variables["MLFLOW_TRACKING_URI"] = f"sqlite:///{tmp_path}/mlflow.db"
    text = (ROOT / "docs" / "migrating" / "argo.md").read_text()
    [block] = re.findall(r"^```sh\n(.+?)^```", text, re.MULTILINE | re.DOTALL)
    smaller = {
        "--epochs=20 --learning-rate=0.0005": "--epochs=1 --learning-rate=0.003",
        "--exit-code": "--metric-threshold=0.1 --exit-code",
        "validate-onnx": "validate-onnx --validation-samples=8",
    }

    for line in block.splitlines():
        line = reduce(lambda text, pair: text.replace(*pair), smaller.items(), line)
        command, _, file = line.removeprefix("python -m tasks ").partition(" > ")
        filled = re.sub(r"\$\(jq -r \.(\w+) (\S+)\)", lambda found: read(tmp_path / found[2], found[1]), command)
        ended = call(filled)
        assert ended.code == 0, ended
        (tmp_path / file).write_text(ended.out)

    assert read(tmp_path / "validate.json", "model_name") == "resnet18-imagenette-onnx"
    registry = find_registry(shell.variables["MLFLOW_TRACKING_URI"])
    assert registry.get_aliases("resnet18-imagenette") == {"champion": 1}
    assert registry.get_aliases("resnet18-imagenette-onnx") == {"deploy": 1}


def test_what_is_submitted_to_argo_are_parameters_of_the_flows() -> None:
    text = (ROOT / "docs" / "migrating" / "argo.md").read_text()
    lines = re.findall(r"`prefect deployment run (train|deploy)-model/local((?: -p \w+=[\w.:]+)*)`", text)
    flows: dict[str, Flow[..., Any]] = {"train": train_model, "deploy": deploy_model}

    taken = [flows[flow].validate_parameters(dict(re.findall(r"-p (\w+)=(\S+)", given))) for flow, given in lines]

    assert [flow for flow, _ in lines] == ["train", "train", "deploy", "deploy"]
    shown = {"epochs": 20, "learning_rate": 0.0005, "batch_size": 32, "source": "version:5"}
    assert {name: value for given in taken for name, value in given.items() if name in shown} == shown


def read(file: Path, key: str) -> str:
    """Return what jq would."""
    return str(json.loads(file.read_text())[key])
