"""Whether a replica's answer is right: compared with the one computed in this process, tensor by tensor."""

import numpy as np

from tests.apparatus.kinds.kind import Tensors


def find_difference(found: Tensors, right: Tensors, tolerance: float) -> str | None:
    """Return what is wrong with an answer, or None; a tolerance is relative to the largest value of a tensor.

    Equal infinities are equal, and so are NaN. Triton gives tensors without an axis, and those of one axis in a batch,
    one axis more: there the values alone are compared.
    """
    if found.keys() != right.keys():
        return f"outputs {sorted(found)}, right are {sorted(right)}"
    wrong = (_find_difference(read_text(found[name]), right[name], tolerance) for name in right)
    return next((f"'{name}': {text}" for name, text in zip(right, wrong, strict=True) if text), None)


def read_text(array: np.ndarray) -> np.ndarray:
    """Return an array with its bytes, as Triton gives text, as text."""
    if array.dtype != object:
        return array
    decoded = [item.decode() if isinstance(item, bytes) else item for item in array.ravel()]
    return np.array(decoded, object).reshape(array.shape)


def _find_difference(found: np.ndarray, right: np.ndarray, tolerance: float) -> str | None:
    if right.ndim <= 1 and found.size == right.size and found.ndim == right.ndim + 1:
        found = found.reshape(right.shape)
    if found.shape != right.shape or found.dtype != right.dtype:
        return f"{found.dtype} {list(found.shape)}, right is {right.dtype} {list(right.shape)}"
    if right.dtype.kind != "f":
        return None if np.array_equal(found, right) else f"{found.ravel()[:8]}, right is {right.ravel()[:8]}"
    wide, expected = found.astype(np.float64), right.astype(np.float64)
    scale = np.max(np.abs(expected[np.isfinite(expected)]), initial=0.0)
    if np.allclose(wide, expected, rtol=0, atol=tolerance * max(scale, 1e-6), equal_nan=True):
        return None
    return f"{wide.ravel()[:8]}, right is {expected.ravel()[:8]}, beyond {tolerance} of {scale:.3g}"
