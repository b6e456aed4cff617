"""Validation, gate 2: an ONNX export is registered only if it computes what PyTorch computes."""

import tempfile
from pathlib import Path

import mlflow
import numpy as np
from torch import nn

from blocks.errors import InvalidInput, ValidationFailed
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
    VARIANTS_FILE,
)
from blocks.registry import ModelRegistry, RegisteredVersion
from blocks.run import publish_report, say
from slipway.learning.choice import Choice, JudgedPrecision, choose
from slipway.learning.comparison import Comparison, compare_models, summarise
from slipway.learning.inference import Array, open_session, run_onnx, run_pytorch
from slipway.learning.machine import keep_to_share
from slipway.learning.parameters import ValidationTerms
from slipway.learning.registration import ExportRun, download_export, find_export, record_validation, register_export
from slipway.learning.report import write_report
from slipway.learning.results import RefusedPrecision, ValidatedOnnx
from slipway.learning.samples import draw_inputs, make_input, read_samples, write_golden
from slipway.learning.served_precision import FASTEST, FULL, AskedPrecision, Precision
from slipway.learning.variant_gate import judge_precisions, make_tags, tell_judgement
from slipway.learning.weights import load_weights

RANDOM, REAL = "random", "real"
GOLDEN_OF_EACH = 8


def validate(
    export_run_id: str, terms: ValidationTerms, *, seed: int, num_workers: int | None = None, registry: ModelRegistry
) -> ValidatedOnnx | RefusedPrecision:
    """Compare an export with the version it was made of; register it as `<model>-onnx` and set `deploy` if it holds.

    Variants beside it are judged on the whole validation set; the precision that `terms` ask for is registered, or,
    where it does not pass, none. The golden samples, inputs with PyTorch's outputs, of a variant with its own, are
    stored beside the ONNX file. What is registered already keeps its version. Raises `ValidationFailed`, with a report
    in MLflow and nothing registered, if a difference exceeds the tolerance, and `InvalidInput` for a run that is no
    export, or not of that precision.
    """
    keep_to_share()
    export = find_export(export_run_id, registry)
    _require_exported(export, terms.precision)
    parent = registry.get_version(export.parent_name, export.parent_version)
    model, input_shape = load_weights(parent, registry)
    inputs = {
        RANDOM: draw_inputs((terms.validation_samples, *input_shape[1:]), seed),
        REAL: _fetch_validation_images(parent, registry),
    }
    with tempfile.TemporaryDirectory(prefix="slipway-") as directory:
        files = {name: download_export(export, name, Path(directory), registry) for name in export.model_ids}
        comparison = compare_models(model, files[FULL] / MODEL_FILE, inputs, terms.validation_tolerance)
        figures = summarise(comparison, terms.validation_tolerance)
        _report_findings(export, comparison, figures, registry)
        judged, choice = _choose(
            export, parent, files, inputs[REAL], terms.precision, comparison, num_workers, registry
        )
        if choice.precision is None:
            return _refuse(export, terms.precision, choice)
        chosen = choice.precision
        _write_golden(files[chosen], model, inputs, chosen)
        tags = {VALIDATION_MAX_DIFF_TAG: f"{figures[VALIDATION_MAX_DIFF_TAG]:.3e}"} | make_tags(judged[chosen])
        version = register_export(export, chosen, parent, files[chosen], registry, tags)
    registry.set_alias(export.onnx_name, DEPLOY, version)
    reason = comparison.reason if len(judged) == 1 else f"{comparison.reason}; {choice.reason}"
    say(f"{export.onnx_name} version {version} carries '{DEPLOY}': {reason}")
    return ValidatedOnnx(
        model_name=export.onnx_name,
        version=version,
        run_id=export_run_id,
        samples=int(figures[VALIDATION_SAMPLES]),
        max_diff=figures[VALIDATION_MAX_DIFF_TAG],
        softmax_max_diff=figures[VALIDATION_SOFTMAX_MAX_DIFF],
        tolerance=terms.validation_tolerance,
        onnx_speedup=figures[VALIDATION_SPEEDUP],
        reason=reason,
        precision=chosen,
        figures=judged[chosen].figures,
    )


def _require_exported(export: ExportRun, asked: str) -> None:
    if asked not in export.precisions and not (asked == FASTEST and len(export.precisions) > 1):
        raise InvalidInput(
            f"run {export.run_id}, {export.subject}: {asked} was asked for, and it holds {', '.join(export.precisions)}"
            "; export it again with variants"
        )


def _choose(
    export: ExportRun,
    parent: RegisteredVersion,
    files: dict[Precision, Path],
    images: Array,
    asked: str,
    comparison: Comparison,
    num_workers: int | None,
    registry: ModelRegistry,
) -> tuple[dict[Precision, JudgedPrecision], Choice]:
    """Return what the gates say of each precision, and which one is registered; nobody judges FP32 alone again."""
    if export.precisions == (FULL,):
        return {FULL: JudgedPrecision(precision=FULL)}, Choice(precision=FULL, reason="")
    judged = judge_precisions(export, parent, files, {REAL: images}, num_workers)
    choice = choose(asked, judged)
    tell_judgement(export, judged, choice, comparison.device, registry)
    return {each.precision: each for each in judged}, choice


def _refuse(export: ExportRun, asked: AskedPrecision, choice: Choice) -> RefusedPrecision:
    reason = (
        f"{export.subject}: {choice.reason}; nothing was registered, see {VARIANTS_FILE} of MLflow run "
        f"{export.run_id}, and ask validate-export for another precision of that run"
    )
    say(reason)
    return RefusedPrecision(model_name=export.onnx_name, run_id=export.run_id, asked=asked, reason=reason)


def _fetch_validation_images(parent: RegisteredVersion, registry: ModelRegistry) -> Array:
    """Return the validation images that the training run kept, so that no dataset is needed here."""
    registry.connect()
    with tempfile.TemporaryDirectory(prefix="slipway-") as directory:
        with registry.transferring(f"{SAMPLES_FILE} of training run {parent.run_id}"):
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


def _write_golden(files: Path, model: nn.Module, inputs: dict[str, Array], precision: Precision) -> None:
    """Write what a release is proven with: what PyTorch computes, of a variant what ONNX Runtime computes itself.

    A variant is asked about images alone: noise lies beyond the ranges that INT8 was calibrated for.
    """
    if precision == FULL:
        chosen = np.concatenate([inputs[kind][:GOLDEN_OF_EACH] for kind in (REAL, RANDOM)])
    else:
        chosen = inputs[REAL][: 2 * GOLDEN_OF_EACH]
    onnxruntime, _ = run_onnx(open_session(files / MODEL_FILE), chosen, len(chosen))
    known = run_pytorch(model, chosen, len(chosen))[0] if precision == FULL else onnxruntime
    write_golden(files / GOLDEN_FILE, chosen, known, onnxruntime)
