"""What gate 2 makes of the sets of inputs it compared: passed or not, the worst of them, the figures."""

import math
from pathlib import Path

import numpy as np
import pytest

from slipway.learning.comparison import Comparison, compare_models, summarise
from slipway.learning.parity import Parity
from tests.apparatus.networks import SmallNetwork

TOLERANCE = 1e-5


def parity(inputs: str, batch_size: int, max_diff: float = 1e-7, class_changes: int = 0) -> Parity:
    return Parity(
        inputs=inputs,
        batch_size=batch_size,
        samples=100 if inputs == "random" else 12,
        tolerance=TOLERANCE,
        scale=20.0,
        max_diff=max_diff,
        mean_diff=max_diff / 2,
        median_diff=max_diff / 4,
        softmax_max_diff=max_diff / 8,
        class_changes=class_changes,
    )


def comparison(*parities: Parity, problem: str | None = None, onnx_time_s: float = 0.5) -> Comparison:
    return Comparison(parities, problem, pytorch_time_s=1.0, onnx_time_s=onnx_time_s)


def test_it_passes_where_every_set_does() -> None:
    found = comparison(parity("random", 1), parity("real", 1), parity("random", 2), parity("real", 2))

    assert found.passed


@pytest.mark.parametrize(
    "found",
    [
        comparison(),
        comparison(parity("random", 1), parity("real", 2, max_diff=1e-4)),
        comparison(parity("random", 1), parity("real", 2, class_changes=1)),
        comparison(parity("random", 1), problem="no valid ONNX"),
    ],
)
def test_one_set_that_differs_none_at_all_or_a_problem_refuse(found: Comparison) -> None:
    assert not found.passed


def test_the_reason_is_the_problem_or_the_set_that_differs_most_a_refused_one_first() -> None:
    changed, wide = parity("real", 2, max_diff=1e-8, class_changes=1), parity("random", 1, max_diff=9e-6)

    assert comparison(wide, changed).reason == changed.sentence
    assert comparison(wide, parity("real", 1)).reason == wide.sentence
    assert comparison(wide, problem="no valid ONNX").reason == "no valid ONNX"
    assert comparison().reason == "nothing was compared"


def test_the_figures_are_the_worst_of_all_sets_and_count_each_sample_once() -> None:
    found = comparison(parity("random", 1), parity("real", 1, max_diff=4e-6), parity("random", 2), parity("real", 2))

    figures = summarise(found, TOLERANCE)

    assert figures["validation_passed"] == 1
    assert figures["validation_max_diff"] == 4e-6
    assert figures["validation_max_absolute_diff"] == pytest.approx(8e-5)
    assert figures["validation_softmax_max_diff"] == 5e-7
    assert figures["validation_num_samples"] == 112
    assert figures["validation_onnx_speedup"] == 2


def test_nothing_compared_has_no_differences_and_no_speedup() -> None:
    figures = summarise(comparison(problem="no valid ONNX", onnx_time_s=0), TOLERANCE)

    assert figures["validation_passed"] == 0
    assert not {"validation_max_diff", "validation_onnx_speedup"} & figures.keys()
    assert all(math.isfinite(value) for value in figures.values())


def test_a_file_that_is_no_onnx_is_a_problem_and_no_exception(tmp_path: Path) -> None:
    (tmp_path / "model.onnx").write_bytes(b"no model")
    inputs = {"random": np.zeros((2, 3, 32, 32), dtype=np.float32)}

    found = compare_models(SmallNetwork(10), tmp_path / "model.onnx", inputs, TOLERANCE)

    assert found.problem is not None and "cannot be checked and run" in found.problem
    assert found.parities == ()
