"""The command lines that Morpheus documents for its MLflow and Triton (`seeds/4`), word for word, each a process.

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

import numpy as np
import pytest

from blocks.environment import Environment
from infra.local.settings import MODELS_BUCKET, REPOSITORY_PREFIX, ROOT, LocalStack
from tests.infra.mlflow_deployments.conftest import EXPECTED, INPUT, write_sum_directory

Run = Callable[..., str]


@pytest.fixture
def run(stack: LocalStack, tmp_path: Path) -> Run:
    """Run a program with the variables that the document names; its output, or, where it fails, the end of it."""
    kept = {name: value for name, value in os.environ.items() if not name.startswith(("PREFECT_", "SLIPWAY_"))}
    named = {
        "TRITON_URL": ",".join(stack.triton_urls.values()),
        "TRITON_MODEL_REPO": f"s3://{stack.s3_url}/{MODELS_BUCKET}/{REPOSITORY_PREFIX}",
        "MLFLOW_TRACKING_URI": stack.mlflow_url,
        "PATH": f"{Path(sys.executable).parent}:{os.environ['PATH']}",
    }
    variables = kept | named | stack.s3_variables() | stack.control_variables()

    def call(*command: str, fails: bool = False) -> str:
        ended = subprocess.run(command, cwd=tmp_path, env=variables, capture_output=True, text=True, check=False)
        assert (ended.returncode != 0) == fails, ended.stdout + ended.stderr[-3000:]
        return ended.stderr[-3000:] if fails else ended.stdout

    return call


def test_a_model_is_published_created_listed_asked_updated_and_deleted(
    run: Run, environment: Environment, model_name: str, tmp_path: Path
) -> None:
    name, directory = model_name, write_sum_directory(tmp_path / "model")
    (tmp_path / "input.json").write_text(json.dumps(INPUT))
    target = ("-t", "triton")
    script = ("python", str(ROOT / "examples" / "publish_model_to_mlflow.py"))

    publish = (*script, "--model_name", name, "--model_directory", str(directory), "--flavor", "triton")
    assert f"models:/{name}/1" in run(*publish)
    made = run(
        "mlflow", "deployments", "create", *target, "--flavor", "triton", "--name", name, "-m", f"models:/{name}/1"
    )
    assert f"triton deployment {name} is created" in made
    assert f"'name': '{name}', 'version': '1', 'state': 'READY'" in run("mlflow", "deployments", "list", *target)
    found = run("mlflow", "deployments", "get", *target, "--name", name)
    assert {f"name: {name}", "state: READY", f"mlflow_model_uri: models:/{name}/1", "flavor: triton"} <= set(
        found.splitlines()
    )
    files = ("--input-path", "input.json", "--output-path", "output.json")
    run("mlflow", "deployments", "predict", *target, "--name", name, *files)
    assert json.loads((tmp_path / "output.json").read_text()) == EXPECTED
    assert {environment.fleet.ready_versions(address, name) for address in environment.fleet.addresses()} == {(1,)}
    assert environment.registry.aliases(name) == {"live": 1}

    again = ("--flavor", "triton", "--name", name, "-m", f"models:/{name}/1")
    assert f"Deployment {name} is updated (with flavor triton)" in run(
        "mlflow", "deployments", "update", *target, *again
    )
    assert "already exists" in run("mlflow", "deployments", "create", *target, *again, fails=True)
    assert f"Deployment {name} is deleted" in run("mlflow", "deployments", "delete", *target, "--name", name)
    assert f"Unable to get deployment with name {name}" in run(
        "mlflow", "deployments", "get", *target, "--name", name, fails=True
    )
    assert all(not environment.fleet.ready_versions(address, name) for address in environment.fleet.addresses())
    assert environment.repository.store.keys(f"{REPOSITORY_PREFIX}/{name}/") == {}


def test_the_target_says_what_it_takes(run: Run) -> None:
    assert "TRITON_MODEL_REPO" in run("mlflow", "deployments", "help", "-t", "triton")


def test_what_nvidias_plugin_keeps_is_kept_and_follows_a_rollback(
    run: Run, environment: Environment, model_name: str, tmp_path: Path
) -> None:
    """The Python calls of the document, in one process; then the flow that rolls back."""
    from flows.rollback import rollback_model

    calls = f"""
from mlflow.deployments import get_deploy_client
client = get_deploy_client('triton')
client.create_deployment("{model_name}", "models:/{model_name}/1", flavor="triton", config={{"version": "1"}})
client.update_deployment("{model_name}", "models:/{model_name}@newest")
print(client.list_deployments(), client.get_deployment("{model_name}"))
"""
    script = ("python", str(ROOT / "examples" / "publish_model_to_mlflow.py"), "--model_name", model_name)
    for number in (1, 2):
        directory = write_sum_directory(tmp_path / f"model-{number}")
        (directory / "labels.txt").write_text(f"{number}\n")
        run(*script, "--model_directory", str(directory), "--flavor", "triton")
    environment.registry.set_alias(model_name, "newest", 2)

    told = run("python", "-c", calls)
    kept = json.loads(environment.repository.store.read(f"{REPOSITORY_PREFIX}/{model_name}/mlflow-meta.json") or b"")
    rollback_model(model_name)
    back = run("mlflow", "deployments", "get", "-t", "triton", "--name", model_name)

    assert kept == {
        "name": model_name,
        "triton_model_path": f"s3://{MODELS_BUCKET}/{REPOSITORY_PREFIX}/{model_name}",
        "mlflow_model_uri": f"models:/{model_name}/2",
        "flavor": "triton",
    }
    assert "'version': '2'" in told
    assert {"version: 1", f"mlflow_model_uri: models:/{model_name}/1"} <= set(back.splitlines())
    tensors = {name: np.array(value, np.float32) for name, value in INPUT["inputs"].items()}
    for address in environment.fleet.addresses():
        answer = environment.fleet.infer(address, model_name, tensors, ["OUTPUT0"], None)
        assert answer["OUTPUT0"].tolist() == EXPECTED["outputs"]["OUTPUT0"]
