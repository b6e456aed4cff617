"""Gate 2's comparison of numbers."""

import math

import numpy as np
import pytest
from numpy.typing import NDArray

from slipway.learning.parity import Parity, compare

TOLERANCE = 1e-5


def logits(scale: float = 10.0, samples: int = 50) -> NDArray[np.float32]:
    return (np.random.default_rng(0).standard_normal((samples, 10)) * scale).astype(np.float32)


def compared(expected: NDArray[np.float32], found: NDArray[np.float32]) -> Parity:
    return compare(expected, found, inputs="random", batch_size=1, tolerance=TOLERANCE)


def test_equal_outputs_differ_by_nothing() -> None:
    parity = compared(logits(), logits())

    assert parity.passed
    assert parity.max_diff == parity.mean_diff == parity.median_diff == parity.softmax_max_diff == 0


def test_a_correct_model_with_large_logits_passes_although_it_is_off_by_more_than_the_tolerance() -> None:
    expected = np.array([[168.0, -168.0, 3.0]], np.float32)
    found = expected + np.array([[4.6e-5, 0, 0]], np.float32)

    parity = compared(expected, found)

    assert np.abs(found - expected).max() > TOLERANCE
    assert parity.passed and parity.max_diff < 1e-6


def test_a_difference_beyond_the_tolerance_fails_however_small_the_logits_are() -> None:
    expected = logits(scale=1e-3)
    found = expected.copy()
    found[3, 4] += 1e-6

    parity = compared(expected, found)

    assert not parity.passed
    assert parity.softmax_max_diff < TOLERANCE < parity.max_diff


def test_probabilities_are_compared_beside_logits() -> None:
    expected = np.array([[1000.0, 0.0, 0.1]], np.float32)[:, [1, 2]].repeat(2, axis=0)
    expected = np.concatenate([expected, np.full((2, 1), -1e5, np.float32)], axis=1)
    found = expected + np.array([0.5, 0, 0], np.float32)

    parity = compared(expected, found)

    assert parity.max_diff <= TOLERANCE < parity.softmax_max_diff
    assert not parity.passed


@pytest.mark.parametrize("broken", [math.nan, math.inf, -math.inf])
def test_an_output_that_is_no_finite_number_fails(broken: float) -> None:
    found = logits()
    found[0, 0] = broken

    assert not compared(logits(), found).passed
    assert not compared(found, found).passed


def test_outputs_of_another_shape_fail() -> None:
    assert not compared(logits(), logits()[:, :9]).passed
    assert not compared(logits(samples=50), logits(samples=49)).passed


def test_another_predicted_class_fails_unless_the_two_best_are_as_good_as_equal() -> None:
    clear, tied = np.array([[1.0, 0.9999]], np.float32), np.array([[1.0, 1.0 - 1e-7]], np.float32)

    assert compared(clear, clear[:, ::-1]).class_changes == 1
    assert compared(tied, tied[:, ::-1]).class_changes == 0
    assert compared(tied, tied[:, ::-1]).passed


def test_a_model_that_always_answers_zero_is_compared_absolutely() -> None:
    zeros = np.zeros((4, 10), np.float32)

    assert compared(zeros, zeros).passed
    assert not compared(zeros, zeros + np.float32(1e-3)).passed
