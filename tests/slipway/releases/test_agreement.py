"""How answers agree: by value relative to the outputs' scale, and by class; whatever cannot agree is said so."""

import numpy as np
import pytest

from blocks.errors import VerificationFailed
from slipway.releases.agreement import Numeric

EXPECTED = np.array([[0.0, 8.0], [4.0, 0.0], [0.0, 2.0]], np.float32)


def compared(*batches: np.ndarray, expected: np.ndarray = EXPECTED) -> Numeric:
    agreement = Numeric(expected)
    for batch in batches:
        agreement.add(batch, "output 'output'")
    return agreement


def test_the_same_answers_agree_wholly_however_they_are_split() -> None:
    for split in ([EXPECTED], [EXPECTED[:2], EXPECTED[2:]], list(EXPECTED)):
        found = compared(*split)

        assert (found.difference, found.top1) == (0.0, 1.0)


def test_a_difference_is_relative_to_the_largest_value_expected() -> None:
    assert compared(EXPECTED + np.float32(0.8)).difference == pytest.approx(0.1)


def test_where_nothing_but_zeros_is_expected_a_difference_is_absolute() -> None:
    zeros = np.zeros((2, 2), np.float32)

    assert compared(zeros + np.float32(0.5), expected=zeros).difference == 0.5


def test_an_answer_that_was_not_given_is_no_agreement() -> None:
    assert compared(EXPECTED[:2]).top1 == pytest.approx(2 / 3)


def test_another_class_is_told_even_where_values_are_near() -> None:
    near = np.array([[1.0, 1.0001]], np.float32)

    assert compared(near[:, ::-1], expected=near).top1 == 0.0


@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf])
def test_a_value_that_is_no_number_passes_no_tolerance(value: float) -> None:
    with pytest.raises(VerificationFailed, match="differs from the golden samples"):
        compared(np.full((3, 2), value, np.float32)).check(1.0, "output 'output'")


def test_one_value_that_is_no_number_is_not_forgotten_by_those_that_follow() -> None:
    with pytest.raises(VerificationFailed, match="by nan"):
        compared(np.full((1, 2), np.nan, np.float32), EXPECTED[1:]).check(1.0, "output 'output'")


def test_a_difference_at_the_tolerance_passes_and_one_above_it_does_not() -> None:
    found = compared(EXPECTED + np.float32(2.0))

    found.check(0.25, "output 'output'")
    with pytest.raises(VerificationFailed, match=r"by 2\.5e-01 of their scale, 2e-01 is allowed"):
        found.check(0.2, "output 'output'")


def test_texts_agree_where_they_are_equal() -> None:
    texts = np.array([[b"cat"], [b"dog"]], np.object_)

    assert compared(texts, expected=texts).difference == 0.0
    assert compared(texts[::-1], expected=texts).difference == np.inf


@pytest.mark.parametrize(
    ("answer", "message"),
    [
        (np.zeros((1, 3), np.float32), r"output 'output' is \[1, 3\], expected \[2\] a sample"),
        (np.zeros((4, 2), np.float32), r"has more samples than were asked for, 3 in all"),
    ],
)
def test_answers_of_another_shape_are_refused(answer: np.ndarray, message: str) -> None:
    with pytest.raises(VerificationFailed, match=message):
        compared(answer)
