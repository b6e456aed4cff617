"""The gates of an export's variants: proven sound, measured on all validation images, and judged as their parent."""

from collections.abc import Mapping
from pathlib import Path

from pydantic import ValidationError

from blocks.errors import InvalidInput
from blocks.events import tell_gate
from blocks.labels import (
    CHANGED_CLASSES_TAG,
    GATE_1_VERDICT_TAG,
    MODEL_FILE,
    TOLERANCE_TAG,
    VALIDATION_MAX_DIFF_TAG,
    VALIDATION_PREFIX,
    VARIANT_GATE_1_TAG,
    VARIANTS_FILE,
)
from blocks.registry import ModelRegistry, RegisteredVersion
from blocks.run import publish_report, say
from slipway.learning.choice import Choice, JudgedPrecision, PrecisionFigures, judge_variant
from slipway.learning.gate import Verdict, require_measurable
from slipway.learning.inference import Array, open_session
from slipway.learning.quantization import count_bytes
from slipway.learning.recorded_dataset import load_recorded
from slipway.learning.registration import ExportRun, record_validation
from slipway.learning.report import write_variants_report
from slipway.learning.served_precision import FULL, TOLERANCES, VARIANTS, Precision
from slipway.learning.variants import find_problem, measure

Files = Mapping[Precision, Path]


def read_verdict(parent: RegisteredVersion) -> Verdict:
    """Return gate 1's verdict on a PyTorch version; `InvalidInput` where no variant can be judged as it was."""
    subject = f"model '{parent.model_name}' version {parent.version}"
    try:
        verdict = Verdict.model_validate_json(parent.tags.get(GATE_1_VERDICT_TAG, ""))
    except ValidationError as error:
        raise InvalidInput(
            f"{subject}: has no verdict of gate 1 in its tag {GATE_1_VERDICT_TAG}, by which its variants are judged; "
            "run promote on it"
        ) from error
    require_measurable(verdict.metric_name, f"{subject} was judged by it, as its variants are to be")
    return verdict


def judge_precisions(
    export: ExportRun, parent: RegisteredVersion, files: Files, inputs: Mapping[str, Array], num_workers: int | None
) -> list[JudgedPrecision]:
    """Return FP32 and each variant with what the gates say of it.

    Args:
        export: where all of them come from.
        parent: the PyTorch version it was made of.
        files: by precision, the directory of what was exported.
        inputs: images by name, on which a variant's kernels have to agree.
        num_workers: threads that decode images from files.
    """
    verdict, images = read_verdict(parent), load_recorded(parent, num_workers).validation
    problems = dict(export.problems)
    for variant in (name for name in VARIANTS if name in files):
        found = find_problem(variant, files[variant] / MODEL_FILE, files[FULL] / MODEL_FILE, inputs)
        problems |= {variant: found} if found else {}
    paths = {name: directory / MODEL_FILE for name, directory in files.items() if name not in problems}
    measured = measure(
        {name: open_session(path) for name, path in paths.items()},
        {name: count_bytes(path) for name, path in paths.items()},
        images,
    )
    figures = {found.precision: found for found in measured}
    return [
        JudgedPrecision(
            precision=name,
            figures=figures.get(name),
            verdict=judge_variant(figures[name], verdict) if name != FULL and name in figures else None,
            problem=problems.get(name),
        )
        for name in export.precisions
    ]


def tell_judgement(
    export: ExportRun, judged: list[JudgedPrecision], choice: Choice, device: str, registry: ModelRegistry
) -> None:
    """Record in the export's run, and tell the people, what each precision does and which one is chosen."""
    metrics = {name: value for each in judged for name, value in _make_metrics(each).items()}
    report = write_variants_report(export.subject, judged, choice, device)
    record_validation(export, metrics, report, VARIANTS_FILE, registry)
    publish_report("variants", report, choice.reason)
    for each in judged:
        if each.precision != FULL:
            reason = f"{each.precision} of {export.subject}: {describe(each)}"
            say(reason)
            tell_gate(1, each.refusal is None, export.onnx_name, reason)


def describe(judged: JudgedPrecision) -> str:
    """Return what the gates say of a variant in one sentence."""
    if judged.refusal is not None:
        return f"refused, {judged.refusal}"
    return f"passed, {judged.verdict.findings}" if judged.verdict else "passed"


def make_tags(judged: JudgedPrecision) -> dict[str, str]:
    """Return what a registered variant says of itself: how far it is from FP32, and a replica may be from it."""
    figures, verdict = judged.figures, judged.verdict
    if judged.precision == "fp32" or figures is None or figures.max_diff is None or verdict is None:
        return {}
    return {
        TOLERANCE_TAG: f"{TOLERANCES[judged.precision]:g}",
        VALIDATION_MAX_DIFF_TAG: f"{figures.max_diff:.3e}",
        CHANGED_CLASSES_TAG: f"{figures.changed_classes:.2%}",
        VARIANT_GATE_1_TAG: verdict.findings,
    }


def _make_metrics(judged: JudgedPrecision) -> dict[str, float]:
    name = f"{VALIDATION_PREFIX}{judged.precision}"
    passed = {f"{name}_passed": float(judged.refusal is None)}
    return passed | (_list_figures(name, judged.figures) if judged.figures else {})


def _list_figures(name: str, figures: PrecisionFigures) -> dict[str, float]:
    told = figures.model_dump(include={"accuracy", "loss", "max_diff", "changed_classes", "ms_per_image"})
    return {f"{name}_{figure}": float(value) for figure, value in told.items() if value is not None}
