"""Gate 2's report: each set's figures in a row, and what made a comparison impossible."""

from slipway.learning.parity import Parity
from slipway.learning.report import write_report

SUBJECT = "ONNX export of model 'm' version 3"


def parity(max_diff: float) -> Parity:
    return Parity(
        inputs="real",
        batch_size=32,
        samples=12,
        tolerance=1e-5,
        scale=20.0,
        max_diff=max_diff,
        mean_diff=1e-8,
        median_diff=2e-8,
        softmax_max_diff=3e-8,
        class_changes=0,
    )


def test_a_report_has_a_row_for_each_set_with_its_figures_and_what_is_allowed() -> None:
    report = write_report(SUBJECT, [parity(4e-6), parity(5e-6)], None)

    assert report.startswith(f"# Gate 2: {SUBJECT} passed\n")
    assert "| real | 32 | 12 | 4.0e-06 | 1.0e-08 | 2.0e-08 | 3.0e-08 | 0 | 1e-05 | passed |" in report
    assert report.count("| real | 32 | 12 |") == 2


def test_one_set_that_differs_fails_the_report_and_is_pointed_out() -> None:
    report = write_report(SUBJECT, [parity(4e-6), parity(5e-4)], None)

    assert report.startswith(f"# Gate 2: {SUBJECT} failed\n")
    assert report.count("**failed**") == 1


def test_a_problem_fails_the_report_in_its_own_words() -> None:
    report = write_report(SUBJECT, [], "the ONNX model cannot be checked and run")

    assert report.startswith(f"# Gate 2: {SUBJECT} failed\n")
    assert "**the ONNX model cannot be checked and run**" in report
