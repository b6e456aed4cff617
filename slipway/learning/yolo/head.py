"""What a detector's head gives, and how far two of its answers are from one another."""

import numpy as np
from numpy.typing import NDArray

Array = NDArray[np.float32]
_BOX = 4
_ENDED = 6  # left, top, right, bottom, score, class: overlaps were suppressed, and the rest sorted by score


def name_agreement(output: Array, classes: int) -> str:
    """Return how a release compares such answers, see the tag slipway.agreement: by value, or as detections."""
    return "detections" if _is_ended(output, classes) else "numeric"


def compare_heads(expected: Array, found: Array, classes: int, size: int) -> float:
    """Return the largest difference, of scores as they are and of boxes by the picture's size; infinite for a NaN.

    Heads: (n, 4 + classes, anchors), and (n, objects, 6), whose scores alone are compared: of equal ones, either
    may come first, and a release compares the objects.
    """
    if expected.shape != found.shape or not (np.isfinite(expected).all() and np.isfinite(found).all()):
        return float("inf")
    differences = np.abs(expected.astype(np.float64) - found)
    if _is_ended(expected, classes):
        return float(differences[..., _BOX].max())
    return float(max(differences[:, :_BOX].max() / size, differences[:, _BOX:].max()))


def _is_ended(output: Array, classes: int) -> bool:
    return bool(output.shape[-1] == _ENDED and output.shape[1] != _BOX + classes)
