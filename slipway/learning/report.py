"""Gate 2 in words: what was compared, what came out, what was allowed."""

from collections.abc import Sequence

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
