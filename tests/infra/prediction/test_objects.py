"""A detector's numbers become objects: whichever head, each object once, none of another class lost."""

import numpy as np
import pytest

from blocks.errors import InvalidInput
from infra.prediction.objects import Objects, find_objects, suppress


def head_of_anchors(*rows: tuple[float, ...], anchors: int = 20) -> np.ndarray:
    """Return [4 + 3, anchors]: the given centres, sizes and scores, and anchors that found nothing."""
    head = np.zeros((7, anchors), np.float32)
    head[:, : len(rows)] = np.array(rows, np.float32).T
    return head


def test_an_anchor_s_best_class_is_its_object() -> None:
    found = find_objects(head_of_anchors((10, 20, 4, 8, 0.1, 0.9, 0.2)))

    assert found.boxes.tolist() == [[8, 16, 12, 24]]
    assert found.classes.tolist() == [1] and found.scores.tolist() == pytest.approx([0.9])


@pytest.mark.parametrize("form", ["columns", "rows", "batch of one"])
def test_a_head_is_read_in_either_direction_and_with_a_batch_axis(form: str) -> None:
    head = head_of_anchors((10, 20, 4, 8, 0.1, 0.9, 0.2), (40, 40, 4, 4, 0.8, 0, 0))
    given = {"columns": head, "rows": head.T, "batch of one": head[None]}[form]

    assert find_objects(given).classes.tolist() == [1, 0]


def test_a_head_that_suppresses_overlaps_itself_is_read_as_it_is() -> None:
    head = np.array([[[1, 2, 3, 4, 0.9, 5], [1, 2, 3, 4, 0.2, 6], [5, 5, 9, 9, 0.95, 7]]], np.float32)

    found = find_objects(head)

    assert found.classes.tolist() == [7, 5]


def test_the_surest_of_boxes_that_overlap_stays_and_one_of_another_class_beside_it() -> None:
    found = find_objects(
        head_of_anchors((10, 10, 8, 8, 0.7, 0, 0), (11, 10, 8, 8, 0.9, 0, 0), (10, 11, 8, 8, 0, 0, 0.8)), overlap=0.5
    )

    assert found.classes.tolist() == [0, 2] and found.scores.tolist() == pytest.approx([0.9, 0.8])


def test_nothing_found_is_no_error_and_numbers_that_are_none_are_no_objects() -> None:
    assert find_objects(np.zeros((84, 8400), np.float32)).scores.size == 0
    assert find_objects(np.full((84, 8400), np.nan, np.float32)).scores.size == 0
    assert find_objects(np.zeros((0, 6), np.float32)).scores.size == 0


def test_suppression_agrees_with_one_box_at_a_time() -> None:
    random = np.random.default_rng(3)
    corners = random.uniform(-20, 60, (200, 2))
    boxes = np.concatenate([corners, corners + random.uniform(0, 30, (200, 2))], axis=1).astype(np.float32)
    scores = np.sort(random.uniform(0, 1, 200).astype(np.float32))[::-1]
    objects = Objects(boxes, scores, random.integers(0, 3, 200))

    kept: list[int] = []
    for number in range(200):
        rivals = [k for k in kept if objects.classes[k] == objects.classes[number]]
        if all(share(boxes[k], boxes[number]) <= 0.4 for k in rivals):
            kept.append(number)

    assert suppress(objects, 0.4).scores.tolist() == scores[kept].tolist()


def share(one: np.ndarray, other: np.ndarray) -> float:
    """Return what two boxes share of their union."""
    sizes = np.clip(np.minimum(one[2:], other[2:]) - np.maximum(one[:2], other[:2]), 0, None)
    both = float(sizes.prod())
    union = float(np.prod(one[2:] - one[:2]) + np.prod(other[2:] - other[:2])) - both
    return both / union if union else 0.0


@pytest.mark.parametrize("shape", [(10,), (2, 84, 100), (3, 100), (1, 2, 3, 4)])
def test_what_is_no_detector_s_head_is_refused_by_its_shape(shape: tuple[int, ...]) -> None:
    with pytest.raises(InvalidInput, match=r"expected a detector's, \[n, 6\] or \[4 \+ classes, anchors\]"):
        find_objects(np.zeros(shape, np.float32))
