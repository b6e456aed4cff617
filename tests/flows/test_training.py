"""The train-model flow on the real servers, with a network that trains in a moment."""

from typing import Any
from uuid import UUID

import pytest
from prefect.client.orchestration import get_client
from prefect.client.schemas.filters import ArtifactFilter, FlowRunFilter, TaskRunFilter
from prefect.client.schemas.objects import State
from prefect.client.schemas.sorting import TaskRunSort
from prefect.exceptions import ParameterTypeError
from prefect.utilities.callables import parameter_schema

from blocks.errors import ValidationFailed
from blocks.registry import ModelRegistry
from blocks.wiring import Blocks
from flows.training import Training, train_model
from tests.tasks.training.candidates import registered_names, unused_name
from tests.tasks.training.networks import SmallNetwork

QUICK: dict[str, Any] = {"dataset": "digits", "epochs": 2, "learning_rate": 0.02, "num_workers": 0, "deploy": False}


@pytest.fixture
def registry(blocks: Blocks) -> ModelRegistry:
    return blocks.registry


@pytest.fixture(autouse=True)
def _small_network(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("tasks.training.train.ResNet18", SmallNetwork)


def run(model_name: str, **changed: Any) -> State[Any]:
    parameters = QUICK | {"metric_threshold": 0.3} | changed
    return train_model(model_name=model_name, return_state=True, **parameters)


def flow_run_id(state: State[Any]) -> UUID:
    assert state.state_details.flow_run_id
    return state.state_details.flow_run_id


def tasks_of(state: State[Any]) -> list[str]:
    """Return the names of a run's tasks in the order they started."""
    with get_client(sync_client=True) as client:
        found = client.read_task_runs(
            flow_run_filter=FlowRunFilter.model_validate({"id": {"any_": [flow_run_id(state)]}}),
            task_run_filter=TaskRunFilter(),
            sort=TaskRunSort.END_TIME_DESC,
        )
    return [task.name for task in reversed(found)]


def artifacts_of(state: State[Any]) -> dict[str, str]:
    """Return type by key of a run's artifacts."""
    with get_client(sync_client=True) as client:
        found = client.read_artifacts(
            artifact_filter=ArtifactFilter.model_validate({"flow_run_id": {"any_": [flow_run_id(state)]}})
        )
    return {str(artifact.key): str(artifact.type) for artifact in found}


def test_a_good_candidate_is_promoted_exported_validated_and_ready(registry: ModelRegistry) -> None:
    name = unused_name()

    state = run(name)

    result = state.result()
    assert isinstance(result, Training)
    assert [task.split(" ")[0] for task in tasks_of(state)] == ["train", "promote", "export", "validate"]
    assert registry.aliases(name) == {"champion": 1}
    assert registry.aliases(f"{name}-onnx") == {"deploy": 1}
    assert result.exported.version == result.trained.version == 1
    assert artifacts_of(state) == {"training-progress": "progress", "gate-1": "markdown", "gate-2": "markdown"}


def test_a_refused_candidate_ends_the_run_visibly_and_nothing_is_exported(registry: ModelRegistry) -> None:
    name = unused_name()

    state = run(name, metric_threshold=0.999)

    assert (state.type.value, state.name) == ("COMPLETED", "Rejected")
    assert state.message and "0.999 is not met" in state.message
    assert [task.split(" ")[0] for task in tasks_of(state)] == ["train", "promote"]
    assert registered_names(registry, name) == {name}
    assert registry.at_alias(name, "champion") is None


def test_a_second_run_is_refused_unless_it_beats_the_champion(registry: ModelRegistry) -> None:
    name = unused_name()
    run(name)

    again = run(name)

    assert again.name == "Rejected"
    assert registry.aliases(name) == {"champion": 1}


def test_an_export_that_computes_something_else_fails_the_run(registry: ModelRegistry) -> None:
    name = unused_name()

    state = run(name, validation_tolerance=1e-15)

    assert state.type.value == "FAILED"
    with pytest.raises(ValidationFailed, match="1e-15 allowed"):
        state.result()
    assert registered_names(registry, name) == {name}
    assert "gate-2" in artifacts_of(state)


def test_a_validated_model_is_passed_on_to_deployment_by_its_version(registry: ModelRegistry) -> None:
    name = unused_name()

    state = run(name, deploy=True)

    assert state.is_completed(), state.message
    assert registry.aliases(f"{name}-onnx") == {"deploy": 1, "live": 1}


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("model_name", "../up"),
        ("dataset", "mnist"),
        ("epochs", 0),
        ("input_shape", [1, 3, 8, 8]),
        ("validation_tolerance", 0),
        ("learning_rat", 0.1),
    ],
)
def test_a_bad_parameter_is_refused_before_the_first_task(name: str, value: Any, registry: ModelRegistry) -> None:
    with pytest.raises((ParameterTypeError, TypeError), match=name):
        train_model(**{**QUICK, "model_name": unused_name(), name: value})


def test_the_form_describes_every_parameter_and_has_a_default_for_it() -> None:
    properties = parameter_schema(train_model).properties

    assert {"model_name", "epochs", "learning_rate", "input_shape", "seed", "metric_threshold"} <= properties.keys()
    assert all(property.get("description") and "default" in property for property in properties.values())
    assert properties["epochs"]["type"] == "integer" and properties["epochs"]["minimum"] == 1
