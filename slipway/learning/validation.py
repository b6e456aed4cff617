"""Step 4 of the training flow, gate 2: register an ONNX export only if it computes what PyTorch computes."""

import tempfile
from pathlib import Path

import mlflow
import numpy as np
from prefect import task
from pydantic import BaseModel, ConfigDict
from torch import nn

from blocks.errors import ValidationFailed
from blocks.events import tell_gate
from blocks.registry import ModelRegistry, RegisteredVersion
from slipway.learning.comparison import Comparison, compare_models, figures_of
from slipway.learning.export import ONNX_FILE
from slipway.learning.inference import Array, onnx_outputs, onnx_session, pytorch_outputs
from slipway.learning.parameters import ExportRunId, Seed, ValidationSamples, ValidationTolerance
from slipway.learning.registration import ExportRun, download_export, find_export, record_validation, register_export
from slipway.learning.report import REPORT_FILE, validation_report
from slipway.learning.reporting import publish_report, say
from slipway.learning.samples import GOLDEN_FILE, SAMPLES_FILE, as_input, random_inputs, read_samples, write_golden
from slipway.learning.weights import load_weights
from slipway.releases.alias_update import DEPLOY
from tasks.training.caching import PER_RUN

RANDOM, REAL = "random", "real"
GOLDEN_OF_EACH = 8


class ValidatedOnnx(BaseModel):
    """An ONNX version that computes what its PyTorch parent computes; it carries the alias `deploy`."""

    model_config = ConfigDict(frozen=True, extra="forbid", protected_namespaces=())

    model_name: str
    version: int
    run_id: str
    samples: int
    max_diff: float
    softmax_max_diff: float
    tolerance: float
    onnx_speedup: float
    reason: str


@task(name="validate-onnx", task_run_name="validate-onnx", cache_policy=PER_RUN)
def validate_onnx(
    export_run_id: ExportRunId,
    validation_tolerance: ValidationTolerance,
    validation_samples: ValidationSamples,
    seed: Seed,
    *,
    registry: ModelRegistry,
) -> ValidatedOnnx:
    """Compare an export with the version it was made of; register it as `<model>-onnx` and set `deploy` if it holds.

    The golden samples, inputs with PyTorch's outputs, are stored beside the ONNX file. An export that is
    registered already keeps its version. Raises `ValidationFailed`, with a report in MLflow and nothing registered,
    if a difference exceeds `validation_tolerance`, and `InvalidInput` for a run that is no export.
    """
    export = find_export(export_run_id, registry)
    parent = registry.version(export.parent_name, export.parent_version)
    model, input_shape = load_weights(parent, registry)
    inputs = {
        RANDOM: random_inputs((validation_samples, *input_shape[1:]), seed),
        REAL: _validation_images(parent, registry),
    }
    with tempfile.TemporaryDirectory(prefix="slipway-") as directory:
        files = download_export(export, Path(directory), registry)
        comparison = compare_models(model, files / ONNX_FILE, inputs, validation_tolerance)
        figures = figures_of(comparison, validation_tolerance)
        _report(export, comparison, figures, registry)
        _write_golden(files, model, inputs)
        version = register_export(export, parent, figures["validation_max_diff"], files, registry)
    registry.set_alias(export.onnx_name, DEPLOY, version)
    say(f"{export.onnx_name} version {version} carries '{DEPLOY}': {comparison.reason}")
    return ValidatedOnnx(
        model_name=export.onnx_name,
        version=version,
        run_id=export_run_id,
        samples=int(figures["validation_num_samples"]),
        max_diff=figures["validation_max_diff"],
        softmax_max_diff=figures["validation_softmax_max_diff"],
        tolerance=validation_tolerance,
        onnx_speedup=figures["validation_onnx_speedup"],
        reason=comparison.reason,
    )


def _validation_images(parent: RegisteredVersion, registry: ModelRegistry) -> Array:
    """Return the validation images that the training run kept, so that no dataset is needed here."""
    registry.connect()
    with tempfile.TemporaryDirectory(prefix="slipway-") as directory:
        with registry.reaching(f"{SAMPLES_FILE} of training run {parent.run_id}"):
            path = mlflow.artifacts.download_artifacts(
                run_id=parent.run_id, artifact_path=SAMPLES_FILE, dst_path=directory
            )
        return as_input(read_samples(Path(path)))


def _report(export: ExportRun, comparison: Comparison, figures: dict[str, float], registry: ModelRegistry) -> None:
    """Write the report, whatever it says, and raise `ValidationFailed` if it says that the gate did not pass."""
    report = validation_report(export.subject, comparison.parities, comparison.problem)
    record_validation(export, figures, report, REPORT_FILE, registry)
    publish_report("gate-2", report, comparison.reason)
    tell_gate(2, comparison.passed, export.onnx_name, comparison.reason)
    if not comparison.passed:
        raise ValidationFailed(
            f"{export.subject}: {comparison.reason}; see {REPORT_FILE} of MLflow run {export.run_id}"
        )


def _write_golden(files: Path, model: nn.Module, inputs: dict[str, Array]) -> None:
    chosen = np.concatenate([inputs[kind][:GOLDEN_OF_EACH] for kind in (REAL, RANDOM)])
    pytorch, _ = pytorch_outputs(model, chosen, len(chosen))
    onnxruntime, _ = onnx_outputs(onnx_session(files / ONNX_FILE), chosen, len(chosen))
    write_golden(files / GOLDEN_FILE, chosen, pytorch, onnxruntime)
