"""How a replica's answers agree with the known ones: told as they come, none of them is kept."""

import math

import numpy as np
from pydantic import BaseModel, ConfigDict, Field

from blocks.errors import VerificationFailed


class Comparison(BaseModel):
    """How one replica's answers compare with the known outputs."""

    model_config = ConfigDict(frozen=True, extra="ignore")

    samples: int
    top1_agreement: float = Field(description="Fraction of samples, 0 to 1, with the known top class.")
    max_difference: float = Field(description="Largest difference relative to the outputs' scale.")
    max_difference_onnxruntime: float | None = Field(
        default=None, description="The same against ONNX Runtime's outputs, None where gate 2 recorded none."
    )


class Numeric:
    """The agreement of one output with the known one: by value, and by the class its largest value stands for."""

    def __init__(self, expected: np.ndarray) -> None:
        self._expected, self._compared = expected, 0
        self._same_class, self._largest = 0, 0.0

    @property
    def difference(self) -> float:
        """max|observed - expected| / max|expected|, NaN where either holds one; infinity for texts that differ."""
        return self._largest / _measure_scale(self._expected)

    @property
    def top1(self) -> float:
        """Fraction of the samples whose largest value is where it is expected."""
        return self._same_class / len(self._expected)

    def add(self, observed: np.ndarray, subject: str) -> None:
        """Compare the outputs for the next samples; `VerificationFailed` where they are not of the known shape."""
        shape = self._expected.shape[1:]
        if observed.size % (math.prod(shape) or 1):
            raise VerificationFailed(f"{subject} is {list(observed.shape)}, expected {list(shape)} a sample")
        found = observed.reshape(-1, *shape)
        expected = self._expected[self._compared : self._compared + len(found)]
        if len(expected) != len(found):
            raise VerificationFailed(f"{subject} has more samples than were asked for, {len(self._expected)} in all")
        self._compared += len(found)
        self._largest = float(np.maximum(self._largest, _find_largest_difference(found, expected)))
        self._same_class += int(np.sum(_find_top1(found) == _find_top1(expected)))

    def check(self, tolerance: float, subject: str) -> None:
        """Raise `VerificationFailed` unless the output agrees within a tolerance."""
        if not self.difference <= tolerance:
            raise VerificationFailed(
                f"{subject} differs from the golden samples by {self.difference:.1e} of their scale, {tolerance:.0e} "
                "is allowed; the replica does not serve the proven model"
            )


def _measure_scale(expected: np.ndarray) -> float:
    if not _is_numeric(expected):
        return 1.0
    return float(np.max(np.abs(expected.astype(np.float64)), initial=0.0)) or 1.0


def _find_largest_difference(observed: np.ndarray, expected: np.ndarray) -> float:
    if not (_is_numeric(observed) and _is_numeric(expected)):
        return 0.0 if np.array_equal(observed, expected) else float("inf")
    return float(np.max(np.abs(observed.astype(np.float64) - expected.astype(np.float64)), initial=0.0))


def _find_top1(outputs: np.ndarray) -> np.ndarray:
    if outputs.size == 0:
        return np.zeros(len(outputs), np.int64)
    top: np.ndarray = outputs.reshape(len(outputs), -1).argmax(1)
    return top


def _is_numeric(array: np.ndarray) -> bool:
    return array.dtype.kind in "biufc"
