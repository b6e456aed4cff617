"""Gate 2 in words: what was compared, what came out, what was allowed."""

from collections.abc import Sequence

from slipway.learning.choice import Choice, JudgedPrecision
from slipway.learning.parity import Parity


def write_report(subject: str, parities: Sequence[Parity], problem: str | None, device: str = "") -> str:
    """Return the report as markdown; `problem` says what made a comparison impossible."""
    passed = problem is None and all(parity.passed for parity in parities)
    rows = "\n".join(_make_row(parity) for parity in parities)
    return "\n".join(
        [
            f"# Gate 2: {subject} {'passed' if passed else 'failed'}",
            "",
            *([f"**{problem}**", ""] if problem else []),
            f"PyTorch against ONNX Runtime{f', {device}' if device else ''}. Differences of logits are relative to the "
            "largest logit of the row.",
            "",
            "| inputs | batch size | samples | max difference | mean | median | softmax | class changes | allowed | |",
            "|---|---:|---:|---:|---:|---:|---:|---:|---:|---|",
            rows,
            "",
        ]
    )


def _make_row(parity: Parity) -> str:
    figures = (parity.max_diff, parity.mean_diff, parity.median_diff, parity.softmax_max_diff)
    cells = " | ".join(f"{figure:.1e}" for figure in figures)
    return (
        f"| {parity.inputs} | {parity.batch_size} | {parity.samples} | {cells} | {parity.class_changes} "
        f"| {parity.tolerance:.0e} | {'passed' if parity.passed else '**failed**'} |"
    )


def write_variants_report(subject: str, judged: Sequence[JudgedPrecision], choice: Choice, device: str) -> str:
    """Return what each precision of an export does over the validation set, and what is registered, as markdown."""
    images = max((each.figures.images for each in judged if each.figures), default=0)
    return "\n".join(
        [
            f"# Variants: {subject}",
            "",
            f"{choice.reason}.",
            "",
            f"Over all {images} validation images, {device}. Differences of logits are from FP32's, relative to the "
            "largest one; milliseconds are the median of rounds in which all take turns.",
            "",
            "| precision | accuracy | loss | max difference | class changes | ms an image | MB | |",
            "|---|---:|---:|---:|---:|---:|---:|---|",
            *(_make_variant_row(each) for each in judged),
            "",
        ]
    )


def _make_variant_row(judged: JudgedPrecision) -> str:
    figures, verdict = judged.figures, f"**refused**, {judged.refusal}" if judged.refusal else "passed"
    if figures is None:
        return f"| {judged.precision} | | | | | | | {verdict} |"
    told = (
        *("no number" if value is None else f"{value:.4f}" for value in (figures.accuracy, figures.loss)),
        "no number" if figures.max_diff is None else f"{figures.max_diff:.1e}",
        f"{figures.changed_classes:.2%}",
        f"{figures.ms_per_image:.2f}",
        f"{figures.size_bytes / 1e6:.1f}",
    )
    return f"| {judged.precision} | {' | '.join(told)} | {verdict} |"
