"""Variants through gates 1 and 2, against the real MLflow, with a network that trains in a moment."""

from pathlib import Path
from typing import Any

import mlflow
import numpy as np
import onnxruntime
import pytest
import torch

from blocks.environment import Environment
from blocks.errors import InvalidInput
from blocks.labels import DEPLOY, VARIANTS_FILE
from blocks.registry import ModelRegistry, RegisteredVersion
from slipway.learning import quantization
from slipway.learning.export import export
from slipway.learning.gate import Criteria
from slipway.learning.parameters import ValidationTerms
from slipway.learning.promotion import promote
from slipway.learning.results import OnnxExport, RefusedPrecision, ValidatedOnnx
from slipway.learning.validation import validate
from tests.apparatus.networks import ConvolutionalNetwork, learn
from tests.apparatus.trained_candidates import digits, register_candidate, registered_names, unused_name

CRITERIA: dict[str, Any] = {
    "metric_name": "best_val_accuracy",
    "greater_is_better": True,
    "metric_threshold": 0.8,
    "min_improvement": 0.005,
}


@pytest.fixture(scope="module")
def registry(environment: Environment) -> ModelRegistry:
    return environment.registry


@pytest.fixture(scope="module")
def network() -> ConvolutionalNetwork:
    torch.manual_seed(0)
    network, training = ConvolutionalNetwork(10), digits().train
    learn(network, training.images, training.labels)
    return network


@pytest.fixture(scope="module")
def parent(registry: ModelRegistry, network: ConvolutionalNetwork) -> RegisteredVersion:
    """A version that passed gate 1."""
    candidate = register_candidate(registry, unused_name(), model=network)
    assert promoted(candidate, registry).passed
    return candidate


@pytest.fixture(scope="module")
def exported(parent: RegisteredVersion, registry: ModelRegistry) -> OnnxExport:
    return export(parent.model_name, parent.version, variants=["fp16", "int8"], registry=registry)


def promoted(candidate: RegisteredVersion, registry: ModelRegistry, **changed: Any) -> Any:
    criteria = Criteria(**CRITERIA | changed)
    return promote(candidate.model_name, candidate.version, criteria, num_workers=0, registry=registry)


def validated(export: OnnxExport, registry: ModelRegistry, precision: Any = "fp32") -> ValidatedOnnx | RefusedPrecision:
    terms = ValidationTerms(validation_tolerance=1e-5, validation_samples=20, precision=precision)
    return validate(export.run_id, terms, seed=0, registry=registry)


def registered(export: OnnxExport, registry: ModelRegistry, precision: str) -> RegisteredVersion:
    found = validated(export, registry, precision)
    assert isinstance(found, ValidatedOnnx), found
    return registry.get_version(found.model_name, found.version)


def test_variants_are_logged_in_the_run_of_their_export(exported: OnnxExport, registry: ModelRegistry) -> None:
    outputs = registry.connect().get_run(exported.run_id).outputs

    assert [(each.precision, each.problem) for each in exported.variants] == [("fp16", None), ("int8", None)]
    ids = {exported.model_id, *(each.model_id for each in exported.variants)}
    assert outputs is not None and {found.model_id for found in outputs.model_outputs} == ids and len(ids) == 3


def test_int8_is_registered_where_it_is_asked_for_and_passes(
    exported: OnnxExport, parent: RegisteredVersion, registry: ModelRegistry
) -> None:
    version = registered(exported, registry, "int8")

    assert version.tags["slipway.precision"] == "int8"
    assert version.tags["slipway.tolerance"] == "0.05"
    assert version.tags["parent_pytorch_version"] == str(parent.version)
    assert version.tags["variant_siblings"].startswith(f"fp32 models:/{exported.model_id}, fp16 models:/m-")
    assert version.tags["variant_gate_1"].startswith("best_val_accuracy 0.9")
    assert 1e-4 < float(version.tags["validation_max_diff"]) < 0.3
    assert version.tags["variant_changed_classes"].endswith("%")
    assert registry.get_aliases(version.model_name)[DEPLOY] == version.version


def test_the_golden_samples_of_a_variant_are_its_own_answers(
    exported: OnnxExport, registry: ModelRegistry, tmp_path: Path
) -> None:
    files = registry.download(registered(exported, registry, "int8"), tmp_path / "model")

    with np.load(files / "golden.npz", allow_pickle=False) as golden:
        inputs, outputs, onnx = (golden[key] for key in ("input/input", "output/output", "onnxruntime/output"))
    found = onnxruntime.InferenceSession(str(files / "model.onnx")).run(["output"], {"input": inputs})[0]
    assert np.array_equal(outputs, onnx)
    assert np.abs(found - outputs).max() <= 1e-6 * np.abs(outputs).max()


def test_each_precision_of_an_export_becomes_one_version_however_often_it_is_asked_for(
    exported: OnnxExport, registry: ModelRegistry
) -> None:
    quarter, full, half = (registered(exported, registry, name) for name in ("int8", "fp32", "fp16"))
    again = registered(exported, registry, "int8")

    assert again.version == quarter.version
    assert len({quarter.version, full.version, half.version}) == 3
    assert (full.tags["slipway.precision"], half.tags["slipway.precision"]) == ("fp32", "fp16")
    assert "slipway.tolerance" not in full.tags and half.tags["slipway.tolerance"] == "0.02"
    assert float(full.tags["validation_max_diff"]) <= 1e-5, "FP32 is compared with PyTorch, as without variants"


def test_the_run_has_the_figures_of_each_precision(exported: OnnxExport, registry: ModelRegistry) -> None:
    registered(exported, registry, "fp32")

    run = registry.connect().get_run(exported.run_id)
    metrics, report = run.data.metrics, mlflow.artifacts.load_text(f"{run.info.artifact_uri}/{VARIANTS_FILE}")
    for name in ("fp32", "fp16", "int8"):
        assert metrics[f"validation_{name}_passed"] == 1
        assert metrics[f"validation_{name}_accuracy"] > 0.8 and metrics[f"validation_{name}_ms_per_image"] > 0
        assert f"| {name} | 0." in report
    assert "Over all 360 validation images, both on the CPU" in report


def test_the_fastest_is_one_of_those_that_pass(exported: OnnxExport, registry: ModelRegistry) -> None:
    found = validated(exported, registry, "fastest")

    assert isinstance(found, ValidatedOnnx) and found.figures is not None
    assert found.figures.precision == found.precision
    metrics = registry.connect().get_run(exported.run_id).data.metrics
    times = {name: metrics[f"validation_{name}_ms_per_image"] for name in ("fp32", "fp16", "int8")}
    assert times[found.precision] <= 1.03 * min(times.values())
    assert f"{found.precision} is the fastest that passes: fp32 " in found.reason


@pytest.fixture
def spoilt(registry: ModelRegistry, network: ConvolutionalNetwork, monkeypatch: pytest.MonkeyPatch) -> OnnxExport:
    """An export whose INT8 variant was calibrated on black images, and so cuts off every activation."""
    candidate = register_candidate(registry, unused_name(), model=network)
    promoted(candidate, registry)
    calibrate = quantization.draw_calibration
    monkeypatch.setattr(quantization, "draw_calibration", lambda *given, **named: calibrate(*given, **named) * 0)
    return export(candidate.model_name, candidate.version, variants=["int8"], registry=registry)


def test_a_variant_that_gate_1_refuses_is_not_registered_and_nothing_is_in_its_place(
    spoilt: OnnxExport, registry: ModelRegistry
) -> None:
    refused = validated(spoilt, registry, "int8")

    assert isinstance(refused, RefusedPrecision)
    assert "int8 was asked for and is refused, gate 1: best_val_accuracy 0." in refused.reason
    assert ">= 0.8 is not met" in refused.reason and "nothing was registered" in refused.reason
    assert registered_names(registry, spoilt.model_name) == {spoilt.model_name}
    assert registry.connect().get_run(spoilt.run_id).data.metrics["validation_int8_passed"] == 0


def test_a_refused_variant_leaves_fp32_to_be_registered(spoilt: OnnxExport, registry: ModelRegistry) -> None:
    found = validated(spoilt, registry, "fastest")

    assert isinstance(found, ValidatedOnnx) and found.precision == "fp32"
    assert "(refused)" in found.reason
    assert registry.get_version(found.model_name, found.version).tags["slipway.precision"] == "fp32"


def test_a_variant_that_cannot_be_made_is_refused_by_its_reason(
    parent: RegisteredVersion, registry: ModelRegistry, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(*given: Any, **named: Any) -> None:
        raise RuntimeError("no kernel for this operator")

    monkeypatch.setattr(quantization, "quantize_static", fail)
    exported = export(parent.model_name, parent.version, variants=["int8"], registry=registry)

    refused = validated(exported, registry, "int8")

    assert exported.variants[0].model_id is None
    assert isinstance(refused, RefusedPrecision)
    assert "ONNX Runtime cannot make it: no kernel for this operator" in refused.reason


@pytest.mark.parametrize("precision", ["int8", "fastest"])
def test_what_was_not_exported_cannot_be_asked_for(
    parent: RegisteredVersion, registry: ModelRegistry, precision: str
) -> None:
    alone = export(parent.model_name, parent.version, registry=registry)

    with pytest.raises(InvalidInput, match=f"{precision} was asked for, and it holds fp32; export it again"):
        validated(alone, registry, precision)


def test_variants_of_a_version_that_gate_1_never_judged_are_refused(
    registry: ModelRegistry, network: ConvolutionalNetwork
) -> None:
    candidate = register_candidate(registry, unused_name(), model=network)
    exported = export(candidate.model_name, candidate.version, variants=["int8"], registry=registry)

    with pytest.raises(InvalidInput, match=r"has no verdict of gate 1 .* run promote on it"):
        validated(exported, registry, "int8")


def test_a_variant_has_to_beat_the_champion_that_its_parent_beat(
    registry: ModelRegistry, network: ConvolutionalNetwork
) -> None:
    name = unused_name()
    promoted(register_candidate(registry, name, accuracy=0.995, model=network), registry)
    better = register_candidate(registry, name, accuracy=1.0, model=network)
    assert promoted(better, registry).passed
    promoted(better, registry)  # once more, as champion: whom it beat is not forgotten
    exported = export(name, better.version, variants=["int8"], registry=registry)

    refused = validated(exported, registry, "int8")

    assert isinstance(refused, RefusedPrecision)
    assert "on champion version 1 (0.9950) >= 0.005 is not met" in refused.reason


def test_a_metric_that_only_a_training_can_tell_judges_no_variant(
    registry: ModelRegistry, network: ConvolutionalNetwork
) -> None:
    candidate = register_candidate(registry, unused_name(), model=network)
    promoted(candidate, registry, metric_name="f1")
    exported = export(candidate.model_name, candidate.version, variants=["fp16"], registry=registry)

    with pytest.raises(InvalidInput, match=r"metric 'f1'.*only best_val_accuracy and best_val_loss"):
        validated(exported, registry, "fp32")
