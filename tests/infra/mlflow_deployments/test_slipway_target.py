"""The target `slipway`: the flows' deployments on the Prefect server carry the calls out."""

from typing import Any
from uuid import UUID

import numpy as np
import pytest
from mlflow.deployments import get_deploy_client
from mlflow.exceptions import MlflowException
from prefect.client.orchestration import get_client

from blocks.environment import Environment
from blocks.errors import InvalidInput
from infra.mlflow_deployments.runs import choose_deployment, read_parameters
from tests.apparatus.models import random_weights, register_linear


@pytest.mark.parametrize(
    ("target", "names", "expected"),
    [
        ("slipway", ["local"], "local"),
        ("slipway:/kubernetes", ["kubernetes", "local"], "kubernetes"),
        ("slipway://local", ["kubernetes", "local"], "local"),
    ],
)
def test_a_target_names_a_deployment_where_there_are_several(target: str, names: list[str], expected: str) -> None:
    assert choose_deployment(target, "deploy-model", names) == expected


@pytest.mark.parametrize(("target", "names"), [("slipway", []), ("slipway", ["a", "b"]), ("slipway:/c", ["a"])])
def test_a_target_that_names_none_is_refused(target: str, names: list[str]) -> None:
    with pytest.raises(InvalidInput, match="flow deploy-model has the deployments"):
        choose_deployment(target, "deploy-model", names)


def test_options_are_parameters_of_the_flow_and_never_another_model() -> None:
    given = {
        "keep_served": "3",
        "also_serve": "[1, 2]",
        "silent_replicas": "leave",
        "model_name": "other",
        "source": "x",
    }

    assert read_parameters(given) == {"keep_served": 3, "also_serve": [1, 2], "silent_replicas": "leave"}


def test_a_release_is_a_run_of_the_flow_with_links_to_it_and_to_its_receipt(
    environment: Environment, model_name: str, capsys: pytest.CaptureFixture[str]
) -> None:
    client: Any = get_deploy_client("slipway")  # type: ignore[no-untyped-call]
    register_linear(environment.registry, model_name, seed=1)
    row = np.ones((1, 4), np.float32)

    made = client.create_deployment(model_name, f"models:/{model_name}@deploy", config={"tolerance": "1e-3"})

    with get_client(sync_client=True) as prefect:
        run = prefect.read_flow_run(UUID(made["run"].rsplit("/", 1)[1]))
    assert (run.parameters["source"], run.parameters["tolerance"]) == ("version:1", 1e-3)
    assert (made["name"], made["flavor"]) == (model_name, "onnx")
    assert f"receipt: {made['receipt']}" in capsys.readouterr().out
    assert client.get_deployment(model_name)["mlflow_model_uri"] == f"models:/{model_name}/1"
    np.testing.assert_allclose(client.predict(model_name, row)["outputs"]["output"], row @ random_weights(1), rtol=1e-4)
    with pytest.raises(MlflowException, match="already exists"):
        client.create_deployment(model_name, f"models:/{model_name}/1")
