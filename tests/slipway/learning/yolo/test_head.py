"""How far two answers of a detector are apart."""

import numpy as np
import pytest

from slipway.learning.yolo.head import compare_heads, name_agreement

ANCHORS = np.random.default_rng(0).random((2, 6, 84), dtype=np.float32)  # two classes
ENDED = np.random.default_rng(0).random((2, 300, 6), dtype=np.float32)


def changed(output: np.ndarray, place: tuple[int, ...], by: float) -> np.ndarray:
    other = output.copy()
    other[place] += by
    return other


@pytest.mark.parametrize(
    ("place", "by", "difference"), [((0, 0, 5), 6.4, 0.01), ((1, 4, 5), 0.5, 0.5), ((1, 5, 83), -0.25, 0.25)]
)
def test_scores_count_as_they_are_and_boxes_by_the_size(place: tuple[int, ...], by: float, difference: float) -> None:
    assert compare_heads(ANCHORS, changed(ANCHORS, place, by), 2, 640) == pytest.approx(difference, rel=1e-4)


def test_of_a_head_that_sorts_by_score_the_scores_alone_count() -> None:
    assert compare_heads(ENDED, changed(ENDED, (0, 3, 0), 99), 2, 640) == 0
    assert compare_heads(ENDED, changed(ENDED, (0, 3, 4), 0.5), 2, 640) == pytest.approx(0.5)


@pytest.mark.parametrize(
    "found", [changed(ANCHORS, (0, 0, 0), np.nan), ANCHORS[:1], changed(ANCHORS, (0, 5, 0), np.inf)]
)
def test_what_cannot_be_compared_is_infinitely_far_apart(found: np.ndarray) -> None:
    assert compare_heads(ANCHORS, found, 2, 640) == float("inf")


def test_the_head_says_how_a_release_compares_answers() -> None:
    assert (name_agreement(ANCHORS, 2), name_agreement(ENDED, 2)) == ("numeric", "detections")
