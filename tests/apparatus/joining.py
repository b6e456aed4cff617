"""Whether requests may be joined, found out in this process: joined and split, each has the answer it has alone."""

import numpy as np
from onnxruntime import InferenceSession
from onnxruntime.capi.onnxruntime_pybind11_state import Fail, InvalidArgument, RuntimeException

from tests.apparatus.answers import find_difference
from tests.apparatus.kinds.kind import Exchange, Tensors, answer

REFUSALS = (Fail, InvalidArgument, RuntimeException)


def joins(session: InferenceSession, first: Exchange, second: Exchange, tolerance: float) -> bool:
    """Tell whether two requests joined along the first axis are each answered as when asked alone."""
    rows = [count_common_rows(*exchange) for exchange in (first, second)]
    if rows[0] is None or rows[1] is None:
        return False
    try:
        together = {name: np.concatenate([first.inputs[name], second.inputs[name]]) for name in first.inputs}
        outputs = answer(session, together)
    except REFUSALS:
        return False
    if count_common_rows(outputs) != rows[0] + rows[1]:
        return False
    split = [{name: a[: rows[0]] for name, a in outputs.items()}, {name: a[rows[0] :] for name, a in outputs.items()}]
    pairs = zip(split, (first.outputs, second.outputs), strict=True)
    return all(find_difference(part, right, tolerance) is None for part, right in pairs)


def count_common_rows(*groups: Tensors) -> int | None:
    """Return the size that all tensors have along the first axis, None where they have none in common."""
    sizes = {array.shape[:1] for tensors in groups for array in tensors.values()}
    return next(iter(next(iter(sizes))), None) if len(sizes) == 1 else None
