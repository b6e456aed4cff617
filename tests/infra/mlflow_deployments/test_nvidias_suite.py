"""The cases of NVIDIA's own test of its plugin (`qa/L0_mlflow`), on a directory, and what theirs leaves behind.

One thing is another: their test compares the deployed config.pbtxt with the author's, byte by byte. Here it names the
versions that are served, and who committed it; all else in it is the author's.
"""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import mlflow.onnx
import numpy as np
import pytest
from mlflow.deployments import get_deploy_client
from mlflow.exceptions import MlflowException

from blocks.registry import ModelRegistry
from slipway.releases.serving_config import parse_config
from tests.apparatus.models import random_weights, register_linear
from tests.apparatus.plain_triton import PlainTriton
from tests.infra.mlflow_deployments.conftest import EXPECTED, SUM_CONFIG, read_input, sum_model

# theirs has "..." and "..my_model" as well, which MLflow 3 registers no model under
VALID = ["model123", "model.version1", "model..1", "model....1"]


@pytest.fixture(scope="module")
def client(variables: dict[str, str]) -> Any:
    return get_deploy_client("triton")  # type: ignore[no-untyped-call]


def log_onnx(name: str) -> None:
    mlflow.onnx.log_model(sum_model(), name="triton", registered_model_name=name, pip_requirements=["onnx"])


def validate(client: Any, name: str, triton: PlainTriton) -> None:
    """Create, list, get, predict and delete, as their suite does; then look at what is left."""
    assert client.create_deployment(name, f"models:/{name}/1", flavor="onnx") == {"name": name, "flavor": "onnx"}
    assert [entry["name"] for entry in client.list_deployments()] == [name]
    assert client.get_deployment(name) == {
        "name": name,
        "version": "1",
        "state": "READY",
        "triton_model_path": str(triton.repository / name),
        "mlflow_model_uri": f"models:/{name}/1",
        "flavor": "onnx",
    }
    answer = client.predict(name, read_input())
    for output, expected in EXPECTED["outputs"].items():
        np.testing.assert_allclose(answer["outputs"][output], np.array(expected, np.int32))
    assert client.delete_deployment(name) is None
    assert client.list_deployments() == []
    assert [path.name for path in triton.repository.iterdir()] == ["existing_model"]
    assert triton.list_models() == {"existing_model": "READY"}


@pytest.mark.parametrize("name", VALID)
def test_a_model_of_the_flavor_onnx_is_created_listed_asked_and_deleted(
    client: Any, triton: PlainTriton, name: str
) -> None:
    log_onnx(name)

    validate(client, name, triton)


def test_the_authors_configuration_is_deployed_with_the_model(client: Any, triton: PlainTriton, tmp_path: Path) -> None:
    name = "onnx_model_with_files"
    mlflow.onnx.save_model(sum_model(), tmp_path / "model", pip_requirements=["onnx"])
    (tmp_path / "model" / "config.pbtxt").write_text(SUM_CONFIG)

    client.create_deployment(name, str(tmp_path / "model"))

    deployed = parse_config((triton.repository / name / "config.pbtxt").read_text())
    assert deployed.max_batch_size == 8
    client.delete_deployment(name)


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("", "Model name cannot be empty. Please enter a valid name to deploy."),
        (" \t", "Model name cannot be empty. Please enter a valid name to deploy."),
        ("../outside/repo", "Path traversal is not allowed in model's name: ../outside/repo"),
        ("..", "Path traversal is not allowed in model's name: .."),
    ],
)
def test_a_name_that_cannot_be_is_refused_by_every_call(client: Any, name: str, message: str) -> None:
    calls: tuple[Callable[[], Any], ...] = (
        lambda: client.create_deployment(name, f"models:/{name}/1", flavor="onnx"),
        lambda: client.update_deployment(name, f"models:/{name}/1", flavor="onnx"),
        lambda: client.delete_deployment(name),
        lambda: client.predict(name, {}),
    )

    for call in calls:
        with pytest.raises(MlflowException) as refused:
            call()
        assert message in str(refused.value)


def test_what_is_not_there_and_what_is_foreign_is_said(client: Any, triton: PlainTriton) -> None:
    log_onnx("existing_model")

    refused: tuple[tuple[Callable[[], Any], str], ...] = (
        (lambda: client.update_deployment("nobody", "models:/x/1"), "Unable to update deployment for name nobody"),
        (lambda: client.delete_deployment("nobody"), "Unable to delete deployment for name nobody because it does not"),
        (
            lambda: client.create_deployment("other", "models:/existing_model/1", flavor="keras"),
            "keras model flavor",
        ),
        (lambda: client.create_deployment("other", "models:/nobody/1"), "nobody"),
        (lambda: client.create_deployment("existing_model", "models:/existing_model/1"), "already exists"),
        (lambda: client.update_deployment("existing_model", "models:/existing_model/1"), "adopt it first"),
        (lambda: client.delete_deployment("existing_model"), "adopt it first"),
    )

    for call, message in refused:
        with pytest.raises(MlflowException, match=message):
            call()
    with pytest.raises(ValueError, match="Unable to get deployment with name nobody"):
        client.get_deployment("nobody")
    assert triton.list_models() == {"existing_model": "READY"}


def test_a_broken_update_leaves_what_was_served_and_a_later_one_keeps_history(
    client: Any, triton: PlainTriton, tmp_path: Path
) -> None:
    name, other = "updated", "updated_1"
    for model in (name, other):
        log_onnx(model)
        client.create_deployment(model, f"models:/{model}/1")
    (tmp_path / "broken").mkdir()
    (tmp_path / "broken" / "model.onnx").write_bytes(b"no model")

    with pytest.raises(MlflowException, match="ONNX"):
        client.update_deployment(name, str(tmp_path / "broken"))
    after_the_broken = client.get_deployment(name)
    log_onnx(name)
    client.update_deployment(name, f"models:/{name}/latest")
    updated = client.get_deployment(name)
    client.delete_deployment(name)

    assert (after_the_broken["version"], after_the_broken["mlflow_model_uri"]) == ("1", f"models:/{name}/1")
    assert (updated["version"], updated["state"]) == ("2", "READY")
    assert json.loads(json.dumps(updated["mlflow_model_uri"])).startswith(f"models:/{name}/")
    assert [entry["name"] for entry in client.list_deployments()] == [other]
    client.delete_deployment(other)


def test_what_does_not_answer_as_it_should_is_undone_and_the_next_is_released(
    client: Any, triton: PlainTriton, monkeypatch: pytest.MonkeyPatch
) -> None:
    name, registry = "proven", ModelRegistry(tracking_uri=mlflow.get_tracking_uri())
    monkeypatch.setenv("TRITON_URL", f"grpc://{triton.grpc}")
    register_linear(registry, name, seed=1)
    register_linear(registry, name, seed=2, lie=1.0)
    client.create_deployment(name, f"models:/{name}/1")
    before = client.get_deployment(name)

    with pytest.raises(MlflowException, match="differs from the known answers"):
        client.update_deployment(name, f"models:/{name}/2")

    assert client.get_deployment(name) == before
    assert sorted(path.name for path in triton.repository.iterdir()) == ["existing_model", name]
    rows = np.ones((1, 4), np.float32)
    np.testing.assert_allclose(client.predict(name, rows)["outputs"]["output"], rows @ random_weights(1), rtol=1e-4)
    client.delete_deployment(name)


def test_a_deployment_of_another_name_has_a_model_of_that_name(client: Any) -> None:
    log_onnx("original")

    client.create_deployment("renamed", "models:/original/1")
    found = client.get_deployment("renamed")
    client.update_deployment("renamed", "models:/original/latest")
    again = client.get_deployment("renamed")

    assert found["mlflow_model_uri"] == "models:/original/1"
    assert again == found, "the same version is not deployed twice"
    assert ModelRegistry(tracking_uri=mlflow.get_tracking_uri()).get_aliases("renamed") == {"live": 1}
    client.delete_deployment("renamed")
