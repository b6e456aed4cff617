"""Objects that a detector found, from its head's numbers: YOLO's heads, and suppression of boxes that overlap.

Heads: [n, 6] with left, top, right, bottom, score, class (suppressed inside the graph), and [4 + classes, anchors] with
centre, size and a score for each class, as ultralytics exports YOLOv8 and later; either with a batch axis before it.
"""

from typing import NamedTuple

import numpy as np

from blocks.errors import InvalidInput

SCORE, OVERLAP = 0.5, 0.5
_ENDED = 6  # columns of a head that suppresses overlaps itself
_BOX = 4
_MOST = 300  # objects of one picture


class Objects(NamedTuple):
    """Objects of one picture, the surest first, in the model's pixels."""

    boxes: np.ndarray  # float32 [n, 4]: left, top, right, bottom
    scores: np.ndarray  # float32 [n]
    classes: np.ndarray  # int64 [n]

    def select(self, chosen: np.ndarray) -> "Objects":
        """Return some of them, by position or by truth."""
        return Objects(self.boxes[chosen], self.scores[chosen], self.classes[chosen])


def find_objects(output: np.ndarray, score: float = SCORE, overlap: float = OVERLAP) -> Objects:
    """Return the objects in a head's output for one picture.

    Args:
        output: [n, 6] or [4 + classes, anchors], a batch axis of one before it or none.
        score: least score of an object.
        overlap: two boxes of a class that share more than this of their union are one object.

    Raises:
        InvalidInput: it is no such head.
    """
    head = output[0] if output.ndim > 2 and output.shape[0] == 1 else output
    if head.ndim != 2 or (head.shape[1] != _ENDED and head.shape[0] <= _BOX):
        raise InvalidInput(
            f"output of shape {list(output.shape)}: expected a detector's, [n, 6] or [4 + classes, anchors]; give "
            "--task classify or --task raw"
        )
    found = _read_ended(head) if head.shape[1] == _ENDED else _read_anchors(head)
    found = found.select(np.isfinite(found.scores) & (found.scores >= score))
    found = suppress(found.select(np.argsort(-found.scores, kind="stable")), overlap)
    return found.select(np.arange(min(_MOST, len(found.scores))))


def suppress(objects: Objects, overlap: float) -> Objects:
    """Return objects, the surest first, but those that share more than `overlap` with a surer one of their class."""
    if not len(objects.scores):
        return objects
    # boxes of different classes are moved so far apart that they never meet
    span = float(objects.boxes.max() - min(0.0, float(objects.boxes.min()))) + 1.0
    boxes = objects.boxes.astype(np.float64) + (objects.classes * span)[:, None]
    sizes = np.clip(boxes[:, 2:] - boxes[:, :2], 0, None)
    areas = sizes.prod(axis=1)
    kept, left = [], np.arange(len(boxes))
    while left.size:
        best, left = left[0], left[1:]
        kept.append(best)
        corners = np.minimum(boxes[best, 2:], boxes[left, 2:]) - np.maximum(boxes[best, :2], boxes[left, :2])
        shared = np.clip(corners, 0, None).prod(axis=1)
        union = areas[best] + areas[left] - shared
        left = left[shared <= overlap * np.maximum(union, 1e-12)]
    return objects.select(np.array(kept))


def _read_ended(head: np.ndarray) -> Objects:
    return Objects(head[:, :_BOX].astype(np.float32), head[:, 4].astype(np.float32), head[:, 5].astype(np.int64))


def _read_anchors(head: np.ndarray) -> Objects:
    """Read centre, size and class scores, a column or (where there are more rows than columns) a row each."""
    columns = head.T if head.shape[0] < head.shape[1] else head
    centres, sizes = columns[:, :2], columns[:, 2:_BOX]
    boxes = np.concatenate([centres - sizes / 2, centres + sizes / 2], axis=1).astype(np.float32)
    scores = columns[:, _BOX:]
    classes = scores.argmax(axis=1)
    return Objects(boxes, scores[np.arange(len(scores)), classes].astype(np.float32), classes.astype(np.int64))
