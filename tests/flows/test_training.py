"""The train-model flow on the real servers, with a network that trains in a moment."""

from collections.abc import Iterator
from typing import Any
from uuid import UUID

import pytest
from prefect.client.orchestration import get_client
from prefect.client.schemas.filters import ArtifactFilter
from prefect.client.schemas.objects import State
from prefect.exceptions import ParameterTypeError
from prefect.utilities.callables import parameter_schema

from blocks.environment import Environment
from blocks.errors import ServiceUnavailable, ValidationFailed
from blocks.registry import ModelRegistry
from flows.candidate import train_candidate
from flows.export_validation import validate_export
from flows.training import VALIDATED, Training, list_handed, train_model
from slipway.learning.parameters import TrainingSettings, ValidationTerms
from slipway.learning.results import RefusedPrecision
from tests.apparatus.networks import SmallNetwork
from tests.apparatus.runs import tasks_of
from tests.apparatus.trained_candidates import registered_names, unused_name

QUICK: dict[str, Any] = {"dataset": "digits", "epochs": 2, "learning_rate": 0.02, "num_workers": 0, "deploy": False}


@pytest.fixture(scope="module")
def registry(environment: Environment) -> ModelRegistry:
    return environment.registry


@pytest.fixture(scope="module", autouse=True)
def _small_network() -> Iterator[None]:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("slipway.learning.training.ResNet18", SmallNetwork)
        yield


@pytest.fixture(scope="module")
def first(registry: ModelRegistry) -> State[Any]:
    """The first run of a model, which passes both gates."""
    return run(unused_name())


def run(model_name: str, **changed: Any) -> State[Any]:
    parameters = QUICK | {"metric_threshold": 0.3} | changed
    state: State[Any] = train_model(model_name=model_name, return_state=True, **parameters)  # type: ignore[assignment]
    return state


def flow_run_id(state: State[Any]) -> UUID:
    assert state.state_details.flow_run_id
    return state.state_details.flow_run_id


def tasks(state: State[Any], last: str) -> list[str]:
    """Return the names of a run's tasks in the order they began."""
    return [task.name for task in tasks_of(flow_run_id(state), last)]


def artifacts_of(state: State[Any]) -> dict[str, str]:
    """Return type by key of a run's artifacts."""
    with get_client(sync_client=True) as client:
        found = client.read_artifacts(
            artifact_filter=ArtifactFilter.model_validate({"flow_run_id": {"any_": [flow_run_id(state)]}})
        )
    return {str(artifact.key): str(artifact.type) for artifact in found if artifact.key}


def test_a_good_candidate_is_promoted_exported_validated_and_ready(first: State[Any], registry: ModelRegistry) -> None:
    result = first.result()

    assert isinstance(result, Training)
    assert tasks(first, last="validate-onnx") == ["train", "promote", "export-onnx", "validate-onnx"]
    assert registry.get_aliases(result.trained.model_name) == {"champion": 1}
    assert registry.get_aliases(result.validated.model_name) == {"deploy": 1}
    assert result.exported.version == result.trained.version == 1


def test_a_run_shows_its_progress_and_both_gates(first: State[Any]) -> None:
    assert artifacts_of(first) == {"training-progress": "progress", "gate-1": "markdown", "gate-2": "markdown"}


def test_what_a_run_persists_is_json(first: State[Any]) -> None:
    again = Training.model_validate_json(first.result().model_dump_json())

    assert again == first.result()


def test_a_refused_candidate_ends_the_run_visibly_and_nothing_is_exported(registry: ModelRegistry) -> None:
    name = unused_name()

    state = run(name, metric_threshold=0.999)

    assert (state.type.value, state.name) == ("COMPLETED", "Rejected")
    assert state.message and "0.999 is not met" in state.message
    assert tasks(state, last="promote") == ["train", "promote"]
    assert registered_names(registry, name) == {name}
    assert registry.find_at_alias(name, "champion") is None


def test_a_second_run_is_refused_unless_it_beats_the_champion(first: State[Any], registry: ModelRegistry) -> None:
    name = first.result().trained.model_name

    again = run(name)

    assert again.name == "Rejected"
    assert again.message and "improvement +0.0000 on champion version 1" in again.message
    assert registry.get_aliases(name) == {"champion": 1}


def test_an_export_that_computes_something_else_fails_the_run(registry: ModelRegistry) -> None:
    name = unused_name()

    state = run(name, validation_tolerance=1e-15)

    assert state.type.value == "FAILED"
    with pytest.raises(ValidationFailed, match="1e-15 allowed"):
        state.result()
    assert registered_names(registry, name) == {name}
    assert "gate-2" in artifacts_of(state)


def test_a_run_that_is_retried_goes_on_where_it_failed_and_trains_only_once(
    registry: ModelRegistry, monkeypatch: pytest.MonkeyPatch
) -> None:
    name, set_alias, failures = unused_name(), ModelRegistry.set_alias, 0

    def broken_once(self: ModelRegistry, model_name: str, alias: str, version: int) -> None:
        nonlocal failures
        if alias == "deploy" and not failures:
            failures += 1
            raise ServiceUnavailable("MLflow went away")
        set_alias(self, model_name, alias, version)

    monkeypatch.setattr(ModelRegistry, "set_alias", broken_once)
    retried = train_model.with_options(retries=1)

    state: Any = retried(model_name=name, return_state=True, **QUICK | {"metric_threshold": 0.3})

    assert state.is_completed() and failures == 1
    assert registry.get_aliases(name) == {"champion": 1}
    assert registry.get_aliases(f"{name}-onnx") == {"deploy": 1}
    assert len(registry.connect().search_model_versions(f"name='{name}'")) == 1
    assert len(registry.connect().search_model_versions(f"name='{name}-onnx'")) == 1


def test_a_validated_model_is_passed_on_to_deployment_by_its_version(registry: ModelRegistry) -> None:
    name = unused_name()

    state = run(name, deploy=True)

    assert state.is_completed(), state.message
    assert registry.get_aliases(f"{name}-onnx") == {"deploy": 1, "live": 1}


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
    assert all(field.get("description") and "default" in field for field in properties.values())
    assert properties["seed"]["type"] == "integer" and properties["seed"]["minimum"] == 0
    assert {"type": "integer", "minimum": 1}.items() <= properties["epochs"]["anyOf"][0].items()


def test_what_is_handed_to_another_pool_is_all_that_training_takes_and_comes_back_whole() -> None:
    handed = {name: field["default"] for name, field in parameter_schema(train_candidate).properties.items()}
    settings = TrainingSettings.check(**handed | {"epochs": 7})

    parameters = train_candidate.validate_parameters(settings.model_dump(mode="json"))

    assert handed.keys() == TrainingSettings.model_fields.keys()
    assert TrainingSettings(**parameters) == settings


def test_what_gate_2_came_to_on_another_pool_is_told_apart() -> None:
    refused = RefusedPrecision(model_name="m-onnx", run_id="5e" * 16, asked="int8", reason="too inaccurate")

    assert VALIDATED.validate_python(refused.model_dump(mode="json")) == refused
    assert VALIDATED.validate_python(refused) is refused


def test_what_gate_2_is_handed_on_another_pool_is_all_that_it_takes() -> None:
    terms = ValidationTerms(validation_tolerance=1e-4, validation_samples=7, precision="int8")

    handed = list_handed("5e" * 16, terms, seed=3, num_workers=4)

    assert handed == validate_export.validate_parameters(handed)
    assert handed.keys() == parameter_schema(validate_export).properties.keys()
