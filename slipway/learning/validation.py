"""Validation, gate 2: an ONNX export is registered only if it computes what PyTorch computes."""

import tempfile
from pathlib import Path

import mlflow
import numpy as np
from torch import nn

from blocks.errors import ValidationFailed
from blocks.events import tell_gate
from blocks.labels import (
    DEPLOY,
    GOLDEN_FILE,
    MODEL_FILE,
    REPORT_FILE,
    SAMPLES_FILE,
    VALIDATION_MAX_DIFF_TAG,
    VALIDATION_SAMPLES,
    VALIDATION_SOFTMAX_MAX_DIFF,
    VALIDATION_SPEEDUP,
)
from blocks.registry import ModelRegistry, RegisteredVersion
from blocks.run import publish_report, say
from slipway.learning.comparison import Comparison, compare_models, summarise
from slipway.learning.inference import Array, open_session, run_onnx, run_pytorch
from slipway.learning.parameters import ValidationTerms
from slipway.learning.registration import ExportRun, download_export, find_export, record_validation, register_export
from slipway.learning.report import write_report
from slipway.learning.results import ValidatedOnnx
from slipway.learning.samples import draw_inputs, make_input, read_samples, write_golden
from slipway.learning.weights import load_weights

RANDOM, REAL = "random", "real"
GOLDEN_OF_EACH = 8


def validate(export_run_id: str, terms: ValidationTerms, *, seed: int, registry: ModelRegistry) -> ValidatedOnnx:
    """Compare an export with the version it was made of; register it as `<model>-onnx` and set `deploy` if it holds.

    The golden samples, inputs with PyTorch's outputs, are stored beside the ONNX file. An export that is
    registered already keeps its version. Raises `ValidationFailed`, with a report in MLflow and nothing registered,
    if a difference exceeds the tolerance, and `InvalidInput` for a run that is no export.
    """
    export = find_export(export_run_id, registry)
    parent = registry.get_version(export.parent_name, export.parent_version)
    model, input_shape = load_weights(parent, registry)
    inputs = {
        RANDOM: draw_inputs((terms.validation_samples, *input_shape[1:]), seed),
        REAL: _fetch_validation_images(parent, registry),
    }
    with tempfile.TemporaryDirectory(prefix="slipway-") as directory:
        files = download_export(export, Path(directory), registry)
        comparison = compare_models(model, files / MODEL_FILE, inputs, terms.validation_tolerance)
        figures = summarise(comparison, terms.validation_tolerance)
        _report_findings(export, comparison, figures, registry)
        _write_golden(files, model, inputs)
        version = register_export(export, parent, figures[VALIDATION_MAX_DIFF_TAG], files, registry)
    registry.set_alias(export.onnx_name, DEPLOY, version)
    say(f"{export.onnx_name} version {version} carries '{DEPLOY}': {comparison.reason}")
    return ValidatedOnnx(
        model_name=export.onnx_name,
        version=version,
        run_id=export_run_id,
        samples=int(figures[VALIDATION_SAMPLES]),
        max_diff=figures[VALIDATION_MAX_DIFF_TAG],
        softmax_max_diff=figures[VALIDATION_SOFTMAX_MAX_DIFF],
        tolerance=terms.validation_tolerance,
        onnx_speedup=figures[VALIDATION_SPEEDUP],
        reason=comparison.reason,
    )


def _fetch_validation_images(parent: RegisteredVersion, registry: ModelRegistry) -> Array:
    """Return the validation images that the training run kept, so that no dataset is needed here."""
    registry.connect()
    with tempfile.TemporaryDirectory(prefix="slipway-") as directory:
        with registry.reaching(f"{SAMPLES_FILE} of training run {parent.run_id}"):
            path = mlflow.artifacts.download_artifacts(
                run_id=parent.run_id, artifact_path=SAMPLES_FILE, dst_path=directory
            )
        return make_input(read_samples(Path(path)))


def _report_findings(
    export: ExportRun, comparison: Comparison, figures: dict[str, float], registry: ModelRegistry
) -> None:
    """Record and publish what the comparison found; raise `ValidationFailed` where the gate did not pass."""
    report = write_report(export.subject, comparison.parities, comparison.problem, comparison.device)
    record_validation(export, figures, report, REPORT_FILE, registry)
    publish_report("gate-2", report, comparison.reason)
    tell_gate(2, comparison.passed, export.onnx_name, comparison.reason)
    if not comparison.passed:
        raise ValidationFailed(
            f"{export.subject}: {comparison.reason}; see {REPORT_FILE} of MLflow run {export.run_id}"
        )


def _write_golden(files: Path, model: nn.Module, inputs: dict[str, Array]) -> None:
    chosen = np.concatenate([inputs[kind][:GOLDEN_OF_EACH] for kind in (REAL, RANDOM)])
    pytorch, _ = run_pytorch(model, chosen, len(chosen))
    onnxruntime, _ = run_onnx(open_session(files / MODEL_FILE), chosen, len(chosen))
    write_golden(files / GOLDEN_FILE, chosen, pytorch, onnxruntime)
