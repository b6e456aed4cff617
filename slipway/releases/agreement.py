"""How a replica's answers agree with the known ones: told as they come, none of them is kept."""

from abc import ABC, abstractmethod

import numpy as np
from pydantic import BaseModel, ConfigDict, Field

from blocks.errors import VerificationFailed
from blocks.fleet import Tensors
from slipway.releases.agreement_terms import AgreementKind, AgreementTerms
from slipway.releases.served_shapes import shape_as_served

_SUM = 1e-3


class Comparison(BaseModel):
    """How one replica's answers compare with the known outputs."""

    model_config = ConfigDict(frozen=True, extra="ignore")

    samples: int
    top1_agreement: float = Field(
        description="Fraction of samples, 0 to 1, with the known top class; what ties within the tolerance is one."
    )
    max_difference: float = Field(description="Largest difference relative to the outputs' scale.")
    max_difference_onnxruntime: float | None = Field(
        default=None, description="The same against ONNX Runtime's outputs, None where gate 2 recorded none."
    )


class Agreement(ABC):
    """The agreement of one output, or of several that belong together, with what is known."""

    difference: float
    """Largest difference relative to the outputs' scale, as far as this kind looks at values."""

    top1: float = 1.0
    """Fraction of the samples with the known class."""

    @abstractmethod
    def add(self, observed: Tensors, expected: Tensors) -> None:
        """Compare one answer; each array has the shape of the known one."""

    @abstractmethod
    def check(self, subject: str) -> None:
        """Raise `VerificationFailed` unless all answers agreed."""


class Numeric(Agreement):
    """The agreement of one output by value; equal infinities are equal, and NaN is where NaN is known."""

    def __init__(self, name: str, tolerance: float) -> None:
        self._name, self._tolerance = name, tolerance
        self._largest, self._scale = 0.0, 0.0
        self._rows, self._margins = 0, np.zeros(0)

    @property
    def difference(self) -> float:  # type: ignore[override]
        """max|observed - expected| / max|expected|, NaN where one of the two is; infinity for texts that differ."""
        return self._largest / (self._scale or 1.0)

    @property
    def top1(self) -> float:  # type: ignore[override]
        """Fraction of the rows whose largest value is where it is known, or as large as that within the tolerance."""
        flips = int(np.sum(~(self._margins <= 2 * self._tolerance * (self._scale or 1.0))))
        return 1.0 - flips / self._rows if self._rows else 1.0

    def add(self, observed: Tensors, expected: Tensors) -> None:
        """Compare one answer."""
        found, known = observed[self._name], expected[self._name]
        if not (_is_numeric(found) and _is_numeric(known)):
            self._largest = max(self._largest, 0.0 if np.array_equal(found, known) else float("inf"))
            return
        found, known = found.astype(np.float64), known.astype(np.float64)
        self._largest = float(np.maximum(self._largest, _find_largest_difference(found, known)))
        self._scale = max(self._scale, float(np.max(np.abs(known), where=np.isfinite(known), initial=0.0)))
        margins = _measure_flips(found, known)
        self._rows += len(margins)
        self._margins = np.concatenate([self._margins, margins[margins != 0]])

    def check(self, subject: str) -> None:
        """Raise `VerificationFailed` unless the output agreed within the tolerance."""
        if not self.difference <= self._tolerance:
            raise VerificationFailed(
                f"{subject}: output '{self._name}' differs from the known answers by {self.difference:.1e} of their "
                f"scale, {self._tolerance:.0e} is allowed; the replica does not serve the proven model"
            )


class Classes(Numeric):
    """The agreement of one output by class: its label, or where its largest value is; how large that is, is free."""

    def check(self, subject: str) -> None:
        """Raise `VerificationFailed` unless each row got the known class, ties within the tolerance aside."""
        wrong = self._largest > 0 if self._is_label else self.top1 < 1.0
        if wrong or np.isnan(self._largest):
            raise VerificationFailed(
                f"{subject}: output '{self._name}' gives {self.top1:.1%} of the rows the known class, expected all; "
                "the replica does not serve the proven model"
            )

    def add(self, observed: Tensors, expected: Tensors) -> None:
        """Compare one answer."""
        self._is_label = expected[self._name].dtype.kind != "f"
        super().add(observed, expected)


class Probabilities(Numeric):
    """The agreement of one output by value, whose rows are probabilities, too."""

    _strange: float | None = None

    def add(self, observed: Tensors, expected: Tensors) -> None:
        """Compare one answer."""
        super().add(observed, expected)
        found = observed[self._name]
        if found.dtype.kind != "f" or not found.size:
            return
        sums = np.atleast_1d(found.astype(np.float64)).sum(axis=-1)
        slack = max(_SUM, self._tolerance)
        strange = sums[~(np.abs(sums - 1.0) <= slack)]
        if strange.size or not ((found >= -slack) & (found <= 1 + slack)).all():
            self._strange = float(strange.flat[0]) if strange.size else float(found.max())

    def check(self, subject: str) -> None:
        """Raise `VerificationFailed` unless the output agreed, and is probabilities."""
        super().check(subject)
        if self._strange is not None:
            raise VerificationFailed(
                f"{subject}: output '{self._name}' has a row of sum {self._strange:.4g}, expected probabilities, 0 to "
                "1, that sum to 1; correct the tag slipway.agreement or the model"
            )


def make_agreements(outputs: Tensors, terms: AgreementTerms) -> list[Agreement]:
    """Return what compares answers with these known outputs."""
    if terms.kind is AgreementKind.DETECTIONS:
        from slipway.releases.detections import Detections  # it is an agreement itself

        return [Detections(outputs, terms.tolerance)]
    kind = {AgreementKind.CLASSES: Classes, AgreementKind.PROBABILITIES: Probabilities}.get(terms.kind, Numeric)
    return [kind(name, terms.tolerance) for name in outputs]


def shape_like(observed: Tensors, expected: Tensors, subject: str) -> Tensors:
    """Return an answer in the shapes of the known one; `VerificationFailed` where it has others, or lacks a tensor."""
    shaped = {}
    for name, known in expected.items():
        found = observed.get(name)
        allowed = {known.shape, shape_as_served(known.shape, True), shape_as_served(known.shape, False)}
        if found is None or found.shape not in allowed:
            seen = "missing" if found is None else list(found.shape)
            raise VerificationFailed(
                f"{subject}: output '{name}' is {seen}, expected {list(known.shape)}; the replica does not serve the "
                "proven model"
            )
        shaped[name] = found.reshape(known.shape)
    return shaped


def _find_largest_difference(found: np.ndarray, known: np.ndarray) -> float:
    same = (found == known) | (np.isnan(found) & np.isnan(known))
    with np.errstate(invalid="ignore"):
        return float(np.max(np.where(same, 0.0, np.abs(found - known)), initial=0.0))


def _measure_flips(found: np.ndarray, known: np.ndarray) -> np.ndarray:
    """Return by how much each row's known top value exceeds that of the class it got; 0 where it is the same class."""
    rows = len(known) if known.ndim > 1 else 1
    if known.size == 0:
        return np.zeros(rows)
    found, known = found.reshape(rows, -1), known.reshape(rows, -1)
    got = known[np.arange(rows), found.argmax(1)]
    with np.errstate(invalid="ignore"):
        margins = np.where(got == known.max(1), 0.0, known.max(1) - got)
    nan = np.isnan(found).any(1) != np.isnan(known).any(1)
    result: np.ndarray = np.where(nan, np.inf, np.where(np.isnan(margins), 0.0, margins))
    return result


def _is_numeric(array: np.ndarray) -> bool:
    return array.dtype.kind in "biufc"
