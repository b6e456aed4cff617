"""How detections agree: the same objects, by overlap, score and class, in whatever order they come."""

import math
from typing import NamedTuple

import numpy as np

from blocks.errors import VerificationFailed
from blocks.fleet import Tensors
from slipway.releases.agreement import Agreement

MIN_SCORE, MIN_OVERLAP = 0.05, 0.9
_SLACK = 0.01
_CORNERS = 4


class _Objects(NamedTuple):
    """Objects of one image."""

    boxes: np.ndarray  # float64 [n, 4]: left, top, right, bottom
    scores: np.ndarray  # float64 [n]
    classes: np.ndarray  # [n]


class Detections(Agreement):
    """The agreement of a detector: each object of a score that counts is found, and no other one.

    An output of boxes [..., n, 4], one of scores [..., n] and, where there is one, one of classes [..., n]; or one
    output [..., n, 6] with left, top, right, bottom, score and class. Objects that score near the least score that
    counts may be missing.
    """

    def __init__(self, outputs: Tensors, tolerance: float) -> None:
        self._slack = max(_SLACK, tolerance)
        self._names = _find_names(outputs)
        self._unmatched, self._objects = 0, 0
        self.difference = 0.0

    @property
    def top1(self) -> float:  # type: ignore[override]
        """Fraction of the objects that have their match."""
        return 1.0 - self._unmatched / self._objects if self._objects else 1.0

    def add(self, observed: Tensors, expected: Tensors) -> None:
        """Compare one answer."""
        images, known_images = _list_images(observed, self._names), _list_images(expected, self._names)
        if len(images) != len(known_images):
            raise VerificationFailed(f"detections of {len(images)} images, expected those of {len(known_images)}")
        for found, known in zip(images, known_images, strict=True):
            self._match(found, known)
            self._match(known, found)

    def check(self, subject: str) -> None:
        """Raise `VerificationFailed` unless all objects were found."""
        if self._unmatched:
            raise VerificationFailed(
                f"{subject}: {self._unmatched} of {self._objects} objects have no match of overlap {MIN_OVERLAP}, of "
                f"the same class and with a score within {self._slack:g}; the replica does not serve the proven model"
            )

    def _match(self, one: _Objects, other: _Objects) -> None:
        counts = np.flatnonzero(one.scores >= MIN_SCORE + self._slack)
        self._objects += len(counts)
        free = np.ones(len(other.boxes), bool)
        for index in counts[np.argsort(-one.scores[counts], kind="stable")]:
            fits = (
                free & (other.classes == one.classes[index]) & (np.abs(other.scores - one.scores[index]) <= self._slack)
            )
            overlaps = np.where(fits, _measure_overlap(one.boxes[index], other.boxes), 0.0)
            best = int(overlaps.argmax()) if overlaps.size else 0
            if not overlaps.size or not overlaps[best] >= MIN_OVERLAP:
                self._unmatched += 1
                continue
            free[best] = False
            self.difference = max(self.difference, float(abs(other.scores[best] - one.scores[index])))


class _Names(NamedTuple):
    """The outputs by what they hold; scores None: all is in one."""

    boxes: str
    scores: str | None
    classes: str | None


def _find_names(outputs: Tensors) -> _Names:
    """Return which output holds what; `VerificationFailed` where that cannot be told."""
    floats = {name: array for name, array in outputs.items() if array.dtype.kind == "f"}
    whole = [name for name, array in floats.items() if array.ndim >= 2 and array.shape[-1] == _CORNERS + 2]
    if len(outputs) == 1 and whole:
        return _Names(whole[0], None, None)
    boxes = [name for name, array in floats.items() if array.ndim >= 2 and array.shape[-1] == _CORNERS]
    for box in boxes:
        beside = {name: array for name, array in outputs.items() if array.shape == outputs[box].shape[:-1]}
        scores = [name for name, array in beside.items() if array.dtype.kind == "f"]
        scores.sort(key=lambda name: "score" not in name.lower())
        others = [name for name in beside if name not in scores[:1]]
        if scores:
            return _Names(box, scores[0], others[0] if others else None)
    shapes = {name: list(array.shape) for name, array in outputs.items()}
    raise VerificationFailed(
        f"outputs {shapes} are no detections, expected boxes [..., n, 4] with scores [..., n], or one output "
        "[..., n, 6]; correct the tag slipway.agreement"
    )


def _list_images(outputs: Tensors, names: _Names) -> list[_Objects]:
    values = outputs[names.boxes].astype(np.float64)
    shape = (math.prod(values.shape[:-2]), values.shape[-2])  # images, objects of each
    boxes = values[..., :_CORNERS].reshape(*shape, _CORNERS)
    if names.scores is None:
        scores, classes = values[..., _CORNERS], values[..., _CORNERS + 1]
    else:
        scores = outputs[names.scores].astype(np.float64)
        classes = outputs[names.classes] if names.classes else np.zeros(scores.shape)
    return [_Objects(*objects) for objects in zip(boxes, scores.reshape(shape), classes.reshape(shape), strict=True)]


def _measure_overlap(box: np.ndarray, boxes: np.ndarray) -> np.ndarray:
    """Return intersection over union of a box with each of the others; two empty ones at one place overlap wholly."""
    least, most = np.maximum(box[:2], boxes[:, :2]), np.minimum(box[2:], boxes[:, 2:])
    shared = np.prod(np.clip(most - least, 0, None), axis=1)
    areas = [np.prod(np.clip(each[..., 2:] - each[..., :2], 0, None), axis=-1) for each in (box, boxes)]
    union = areas[0] + areas[1] - shared
    same = np.isclose(boxes, box).all(axis=1)
    with np.errstate(invalid="ignore", divide="ignore"):
        overlap: np.ndarray = np.where(same, 1.0, np.where(union > 0, shared / union, 0.0))
    return overlap
