"""The command lines that Morpheus documents for its MLflow and Triton (`seeds/4`), word for word.

Those that cannot run here are its containers: `docker pull`, `build`, `run` and `exec`, and `scripts/fetch_data.py`,
which needs Git LFS; instead of its sid-minibert-onnx the model is a smaller one of that name's kind. The servers are
the stack's: an MLflow, a store that is S3, two replicas; no Prefect server is named.
"""

import json
import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import mlflow
import pytest
from click.testing import CliRunner
from mlflow.deployments import get_deploy_client
from mlflow.deployments.cli import commands

from blocks.environment import Environment
from flows.rollback import rollback_model
from infra.local.settings import MODELS_BUCKET, REPOSITORY_PREFIX, ROOT, LocalStack
from slipway.releases.publication import Given, publish
from tests.apparatus.consistency import list_served
from tests.infra.mlflow_deployments.conftest import EXPECTED, INPUT, write_sum_directory

Run = Callable[..., str]


@pytest.fixture
def variables(stack: LocalStack) -> dict[str, str]:
    """What the document has people set, for the stack's servers."""
    named = {
        "TRITON_URL": ",".join(stack.triton_urls.values()),
        "TRITON_MODEL_REPO": f"s3://{stack.s3_url}/{MODELS_BUCKET}/{REPOSITORY_PREFIX}",
        "MLFLOW_TRACKING_URI": stack.mlflow_url,
    }
    return named | stack.s3_variables() | stack.control_variables()


@pytest.fixture
def run(variables: dict[str, str], tmp_path: Path) -> Run:
    """Run a program that no Prefect server is named to; returns its output."""
    kept = {name: value for name, value in os.environ.items() if not name.startswith(("PREFECT_", "SLIPWAY_"))}
    path = {"PATH": f"{Path(sys.executable).parent}:{os.environ['PATH']}"}

    def call(*command: str) -> str:
        ended = subprocess.run(
            command, cwd=tmp_path, env=kept | variables | path, capture_output=True, text=True, check=False
        )
        assert ended.returncode == 0, ended.stdout + ended.stderr[-3000:]
        return ended.stdout

    return call


@pytest.fixture
def deployments(variables: dict[str, str], monkeypatch: pytest.MonkeyPatch) -> Run:
    """Run `mlflow deployments` in this process, whose imports are done; its output, or, where it fails, its error."""
    for name, value in variables.items():
        monkeypatch.setenv(name, value)

    def call(*arguments: str) -> str:
        # else it is whichever server was asked last in this process
        mlflow.set_tracking_uri(variables["MLFLOW_TRACKING_URI"])
        mlflow.set_registry_uri(variables["MLFLOW_TRACKING_URI"])
        ended = CliRunner().invoke(commands, arguments)
        return ended.output if ended.exception is None else str(ended.exception)

    return call


def test_a_model_is_published_created_listed_asked_updated_and_deleted(
    run: Run, deployments: Run, environment: Environment, model_name: str, tmp_path: Path
) -> None:
    name, directory = model_name, write_sum_directory(tmp_path / "model")
    (tmp_path / "input.json").write_text(json.dumps(INPUT))
    of_name, of_model = ("-t", "triton", "--name", name), ("--flavor", "triton", "-m", f"models:/{name}/1")
    script = ("python", str(ROOT / "examples" / "publish_model_to_mlflow.py"))

    publish = (*script, "--model_name", name, "--model_directory", str(directory), "--flavor", "triton")
    assert f"models:/{name}/1" in run(*publish)
    assert f"triton deployment {name} is created" in run("mlflow", "deployments", "create", *of_name, *of_model)
    assert f"'name': '{name}', 'version': '1', 'state': 'READY'" in deployments("list", "-t", "triton")
    assert {f"name: {name}", "state: READY", f"mlflow_model_uri: models:/{name}/1", "flavor: triton"} <= set(
        deployments("get", *of_name).splitlines()
    )
    files = ("--input-path", str(tmp_path / "input.json"), "--output-path", str(tmp_path / "output.json"))
    assert deployments("predict", *of_name, *files) == ""
    assert json.loads((tmp_path / "output.json").read_text()) == EXPECTED
    assert set(list_served(environment, name)) == {(1,)}
    assert environment.registry.get_aliases(name) == {"live": 1}
    assert f"Deployment {name} is updated (with flavor triton)" in deployments("update", *of_name, *of_model)
    assert "already exists" in deployments("create", *of_name, *of_model)
    assert f"Deployment {name} is deleted" in deployments("delete", *of_name)
    assert f"Unable to get deployment with name {name}" in deployments("get", *of_name)
    assert set(list_served(environment, name)) == {()}
    assert environment.repository.store.list_keys(f"{REPOSITORY_PREFIX}/{name}/") == {}


def test_both_targets_say_what_they_take(deployments: Run) -> None:
    assert "TRITON_MODEL_REPO" in deployments("help", "-t", "triton")
    assert "PREFECT_API_URL" in deployments("help", "-t", "slipway")
    assert "create the deployment there" in deployments("run-local", "-t", "triton", "--name", "n", "-m", "models:/n/1")


def test_what_nvidias_plugin_keeps_is_kept_and_follows_a_rollback(
    variables: dict[str, str],
    environment: Environment,
    model_name: str,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """The Python calls of the document; then the flow that rolls back."""
    for name, value in variables.items():
        monkeypatch.setenv(name, value)
    client: Any = get_deploy_client("triton")  # type: ignore[no-untyped-call]
    for number in (1, 2):
        directory = write_sum_directory(tmp_path / f"model-{number}")
        (directory / "labels.txt").write_text(f"{number}\n")
        publish(directory, model_name, Given(), registry=environment.registry)
    environment.registry.set_alias(model_name, "newest", 2)

    client.create_deployment(model_name, f"models:/{model_name}/1", flavor="triton", config={"version": "1"})
    client.update_deployment(model_name, f"models:/{model_name}@newest")
    updated = client.get_deployment(model_name)
    kept = json.loads(environment.repository.store.read(f"{REPOSITORY_PREFIX}/{model_name}/mlflow-meta.json") or b"")
    rollback_model(model_name)
    back = client.get_deployment(model_name)

    assert kept == {
        "name": model_name,
        "triton_model_path": f"s3://{MODELS_BUCKET}/{REPOSITORY_PREFIX}/{model_name}",
        "mlflow_model_uri": f"models:/{model_name}/2",
        "flavor": "triton",
    }
    assert (updated["version"], updated["mlflow_model_uri"]) == ("2", f"models:/{model_name}/2")
    assert (back["version"], back["mlflow_model_uri"]) == ("1", f"models:/{model_name}/1")
    answer = client.predict(model_name, INPUT)
    assert answer["outputs"]["OUTPUT0"].tolist() == EXPECTED["outputs"]["OUTPUT0"]
    assert model_name in {entry["name"] for entry in client.list_deployments()}
    assert client.delete_deployment(model_name) is None
    with pytest.raises(ValueError, match=f"Unable to get deployment with name {model_name}"):
        client.get_deployment(model_name)
