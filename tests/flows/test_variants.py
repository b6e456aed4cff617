"""Variants of a trained model on the real servers: exported, judged, and the one that is asked for released."""

from collections.abc import Iterator
from typing import Any

import numpy as np
import pytest
from prefect.client.schemas.objects import State

from blocks.environment import Environment
from blocks.errors import InvalidInput
from blocks.registry import ModelRegistry
from flows.export_validation import validate_export
from flows.training import Training, train_model
from slipway.learning import quantization
from slipway.learning.results import ValidatedOnnx
from slipway.learning.samples import make_input
from slipway.releases.explanation import explain_live
from tests.apparatus.networks import ConvolutionalNetwork
from tests.apparatus.runs import tasks_of
from tests.apparatus.thinning import keep
from tests.apparatus.trained_candidates import digits, registered_names, unused_name

QUICK: dict[str, Any] = {
    "dataset": "digits",
    "epochs": 2,
    "learning_rate": 0.02,
    "num_workers": 0,
    "metric_threshold": 0.8,
    "validation_samples": 20,
}


@pytest.fixture(scope="module")
def registry(environment: Environment) -> ModelRegistry:
    return environment.registry


@pytest.fixture(scope="module", autouse=True)
def _small_network() -> Iterator[None]:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("slipway.learning.training.ResNet18", ConvolutionalNetwork)
        yield


@pytest.fixture
def _calibrated_on_black_images(monkeypatch: pytest.MonkeyPatch) -> None:
    calibrate = quantization.draw_calibration
    monkeypatch.setattr(quantization, "draw_calibration", lambda *given: calibrate(*given) * 0)


def run(model_name: str, **changed: Any) -> State[Any]:
    state: State[Any] = train_model(model_name=model_name, return_state=True, **QUICK | changed)  # type: ignore[assignment]
    return state


@pytest.mark.parametrize(
    ("precision", "tolerance"), keep({"int8": ("int8", "5e-02"), "fp16": ("fp16", "2e-02")}, {"int8"})
)
def test_a_variant_that_is_asked_for_passes_the_gates_and_is_released(
    environment: Environment, precision: str, tolerance: str
) -> None:
    name = unused_name()

    state = run(name, precision=precision, deploy=True)

    assert state.is_completed(), state.message
    result = state.result()
    assert isinstance(result, Training) and result.validated.precision == precision
    assert [each.precision for each in result.exported.variants] == [precision]
    assert environment.registry.get_aliases(f"{name}-onnx") == {"deploy": 1, "live": 1}
    assert_served_as_judged(environment, f"{name}-onnx", result.validated)
    told = explain_live(f"{name}-onnx", environment)
    assert told.receipt is not None
    assert f"version 1 promoted; {precision}: best_val_accuracy 0.9" in told.receipt.gates["gate 1"]
    assert f"{precision} against fp32, " in told.receipt.gates["gate 2"]
    assert f"{tolerance} allowed (tag slipway.tolerance of the version)" in told.receipt.gates["candidate"]
    assert told.receipt.precision == precision


def assert_served_as_judged(environment: Environment, model_name: str, validated: ValidatedOnnx) -> None:
    """Every replica is right about as many of the validation images as the variant was when it was judged."""
    images = digits().validation
    assert validated.figures is not None and validated.figures.images == len(images)
    for address in environment.fleet.list_addresses():
        requests = ({"input": make_input(images.images[start : start + 32])} for start in range(0, len(images), 32))
        answers = environment.fleet.answers(address, model_name, requests, ["output"], None)
        predicted = np.concatenate([answer.outputs["output"].argmax(axis=1) for answer in answers])
        assert (predicted == images.labels).mean() == pytest.approx(validated.figures.accuracy, abs=0.003)


@pytest.mark.exhaustive  # tests/slipway/learning/test_variant_gate.py refuses it, too
@pytest.mark.usefixtures("_calibrated_on_black_images")
def test_a_refused_variant_that_is_asked_for_ends_the_run_visibly_and_another_one_can_be_asked_for(
    registry: ModelRegistry,
) -> None:
    name = unused_name()

    state = run(name, precision="int8", deploy=True)

    assert (state.type.value, state.name) == ("COMPLETED", "Rejected")
    assert state.message and "int8 was asked for and is refused, gate 1: best_val_accuracy" in state.message
    assert state.state_details.flow_run_id
    names = ["train", "promote", "export-onnx", "validate-onnx"]
    assert [task.name for task in tasks_of(state.state_details.flow_run_id, "validate-onnx")] == names
    assert registered_names(registry, name) == {name}, "the PyTorch model alone, which is champion"

    again = validate_export(export_run_id=state.result().run_id, precision="fp32", num_workers=0)

    assert isinstance(again, ValidatedOnnx) and again.precision == "fp32"
    assert registry.get_aliases(f"{name}-onnx") == {"deploy": 1}


@pytest.mark.usefixtures("_calibrated_on_black_images")
def test_a_refused_variant_that_nobody_asked_for_leaves_fp32_to_be_released(registry: ModelRegistry) -> None:
    name = unused_name()

    state = run(name, variants=["fp16", "int8"])

    result = state.result()
    assert isinstance(result, Training) and result.validated.precision == "fp32"
    metrics = registry.connect().get_run(result.exported.run_id).data.metrics
    assert (metrics["validation_fp16_passed"], metrics["validation_int8_passed"]) == (1, 0)


def test_a_metric_by_which_no_variant_can_be_judged_is_refused_before_the_first_task() -> None:
    with pytest.raises(InvalidInput, match="variants are judged by it, too, and only best_val_accuracy"):
        train_model(**QUICK, model_name=unused_name(), metric_name="val_f1", variants=["fp16"])
