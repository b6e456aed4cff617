"""How far an ONNX model's outputs are from PyTorch's, relative to their own scale; pure numbers."""

import math

import numpy as np
from numpy.typing import NDArray
from pydantic import BaseModel, ConfigDict

Logits = NDArray[np.float32]


class Parity(BaseModel):
    """How one set of inputs compares at one batch size. Differences are relative to the largest logit of the set."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    inputs: str
    batch_size: int
    samples: int
    tolerance: float
    scale: float
    max_diff: float
    mean_diff: float
    median_diff: float
    softmax_max_diff: float
    class_changes: int

    @property
    def passed(self) -> bool:
        """Whether the set stays within tolerance; a NaN is within no tolerance."""
        return self.max_diff <= self.tolerance and self.softmax_max_diff <= self.tolerance and self.class_changes == 0

    @property
    def sentence(self) -> str:
        """The figures that decide, each with what is allowed."""
        return (
            f"{self.samples} {self.inputs} samples at batch size {self.batch_size}: relative difference "
            f"{self.max_diff:.1e}, softmax difference {self.softmax_max_diff:.1e} (<= {self.tolerance:.0e} allowed), "
            f"{self.class_changes} predicted classes changed"
        )


def compare(expected: Logits, found: Logits, *, inputs: str, batch_size: int, tolerance: float) -> Parity:
    """Compare PyTorch's logits `expected` (n, classes) with ONNX Runtime's `found`.

    An absolute tolerance would refuse a correct model with large logits, so that differences are divided by the
    largest one. A NaN, an infinity or another shape makes every difference infinite.
    """
    comparable = expected.shape == found.shape and bool(np.isfinite(expected).all() and np.isfinite(found).all())
    if not comparable:
        return _refuse(expected, inputs, batch_size, tolerance)
    scale = float(np.abs(expected).max())
    differences = np.abs(expected.astype(np.float64) - found) / (scale or 1.0)
    return Parity(
        inputs=inputs,
        batch_size=batch_size,
        samples=len(expected),
        tolerance=tolerance,
        scale=scale,
        max_diff=float(differences.max()),
        mean_diff=float(differences.mean()),
        median_diff=float(np.median(differences)),
        softmax_max_diff=float(np.abs(_compute_softmax(expected) - _compute_softmax(found)).max()),
        class_changes=_count_class_changes(expected, found, margin=2 * tolerance * scale),
    )


def _count_class_changes(expected: Logits, found: Logits, margin: float) -> int:
    # Where the two best logits are closer than both outputs may be off, either class is right.
    ranked = np.sort(expected, axis=1)
    tied = ranked[:, -1] - ranked[:, -2] <= margin if expected.shape[1] > 1 else np.ones(len(expected), dtype=bool)
    return int(((expected.argmax(axis=1) != found.argmax(axis=1)) & ~tied).sum())


def _compute_softmax(logits: Logits) -> NDArray[np.float64]:
    powers = np.exp(logits.astype(np.float64) - logits.max(axis=1, keepdims=True))
    return np.asarray(powers / powers.sum(axis=1, keepdims=True))


def _refuse(expected: Logits, inputs: str, batch_size: int, tolerance: float) -> Parity:
    return Parity(
        inputs=inputs,
        batch_size=batch_size,
        samples=len(expected),
        tolerance=tolerance,
        scale=math.inf,
        max_diff=math.inf,
        mean_diff=math.inf,
        median_diff=math.inf,
        softmax_max_diff=math.inf,
        class_changes=len(expected),
    )
