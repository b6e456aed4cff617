"""Proof that a replica serves a model: its answers to samples whose outputs are known."""

import math
from collections.abc import Iterator
from io import BytesIO
from typing import Annotated, NamedTuple

import numpy as np
from pydantic import BaseModel, ConfigDict, Field

from blocks.errors import IntegrityError, UnusableModel, VerificationFailed
from blocks.fleet import Answer, TritonFleet
from blocks.registry import ModelRegistry
from blocks.repository import ModelRepository
from slipway.releases.fetching import FetchedModel, local_files
from slipway.releases.golden import GOLDEN_FILE
from slipway.releases.samples import Samples, packed, read_samples

PROOF_FILE = "proof.npz"

Tolerance = Annotated[
    float, Field(gt=0, le=1, description="Largest difference from PyTorch's outputs, relative to their scale.")
]


class Comparison(BaseModel):
    """How one replica's answers compare with the known outputs."""

    model_config = ConfigDict(frozen=True, extra="ignore")

    samples: int
    top1_agreement: float = Field(description="Fraction of samples, 0 to 1, with the known top class.")
    max_difference: float = Field(description="Largest difference relative to the outputs' scale.")
    max_difference_onnxruntime: float | None = Field(
        default=None, description="The same against ONNX Runtime's outputs, None where gate 2 recorded none."
    )


class Question(NamedTuple):
    """Whom to ask for what."""

    fleet: TritonFleet
    address: str
    model_name: str
    version: int
    batched: bool
    asked_as: str | None = None  # another name the version is served under
    pinned: bool = True

    @property
    def name(self) -> str:
        """The model name requests carry."""
        return self.asked_as or self.model_name

    @property
    def subject(self) -> str:
        """Model, version and replica, for messages."""
        return f"model '{self.model_name}' version {self.version} on Triton {self.address}"

    def answers(self, samples: Samples) -> Iterator[Answer]:
        """Yield the answers to all samples in order; `VerificationFailed` where another version answers."""
        version = self.version if self.pinned else None
        requests = samples.requests(self.batched)
        for answer in self.fleet.answers(self.address, self.name, requests, list(samples.outputs), version):
            if answer.version != self.version:
                raise VerificationFailed(
                    f"{self.subject}: answered by version {answer.version}, expected {self.version}"
                )
            yield answer

    def compare(self, samples: Samples, tolerance: float) -> Comparison:
        """Compare a replica's answers; `VerificationFailed` where one differs from the known outputs."""
        known = {name: Agreement(expected) for name, expected in samples.outputs.items()}
        onnxruntime = {name: Agreement(expected) for name, expected in samples.onnxruntime.items()}
        for answer in self.answers(samples):
            for name, output in answer.outputs.items():
                for agreements in (known, onnxruntime):
                    if name in agreements:
                        agreements[name].add(output, f"{self.subject}: output '{name}'")
        for name, agreement in known.items():
            if not agreement.difference <= tolerance:
                raise VerificationFailed(
                    f"{self.subject}: output '{name}' differs from the golden samples by {agreement.difference:.1e} "
                    f"of their scale, {tolerance:.0e} is allowed; the replica does not serve the proven model"
                )
        top1 = min(agreement.top1 for agreement in known.values())
        if top1 < 1.0:
            raise VerificationFailed(
                f"{self.subject}: {top1:.1%} of the golden samples get the class PyTorch gave them, expected all; the "
                "replica does not serve the proven model"
            )
        return Comparison(
            samples=samples.count,
            top1_agreement=top1,
            max_difference=max(agreement.difference for agreement in known.values()),
            max_difference_onnxruntime=max((found.difference for found in onnxruntime.values()), default=None),
        )


class Agreement:
    """How the answers for one output agree with the known ones, told as they come: none of them is kept."""

    def __init__(self, expected: np.ndarray) -> None:
        self._expected, self._compared = expected, 0
        self._same_class, self._largest = 0, 0.0

    @property
    def difference(self) -> float:
        """max|observed - expected| / max|expected|, NaN where either holds one; infinity for texts that differ."""
        return self._largest / _scale(self._expected)

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
        self._largest = float(np.maximum(self._largest, _largest_difference(found, expected)))
        self._same_class += int(np.sum(_top1(found) == _top1(expected)))


def golden_samples(fetched: FetchedModel, registry: ModelRegistry) -> Samples | None:
    """Return the samples a model was registered with, None where there are none."""
    if fetched.golden is None:
        return None
    subject = f"model '{fetched.model_name}' version {fetched.registered.version}, {GOLDEN_FILE}"
    return read_samples(local_files(fetched, registry) / GOLDEN_FILE, subject)


def read_proof(repository: ModelRepository, model_name: str, version: int) -> Samples | None:
    """Return the samples that prove a released version, None where none were recorded.

    Raises `IntegrityError` where what was recorded is no longer readable.
    """
    content = repository.read_record(model_name, version, PROOF_FILE)
    if content is None:
        return None
    try:
        return read_samples(BytesIO(content), f"model '{model_name}' version {version}, recorded {PROOF_FILE}")
    except UnusableModel as error:
        raise IntegrityError(str(error)) from error


def write_proof(repository: ModelRepository, model_name: str, version: int, samples: Samples) -> None:
    """Record the samples that prove a version."""
    repository.write_record(model_name, version, PROOF_FILE, packed(samples))


def _scale(expected: np.ndarray) -> float:
    if not _is_numeric(expected):
        return 1.0
    return float(np.max(np.abs(expected.astype(np.float64)), initial=0.0)) or 1.0


def _largest_difference(observed: np.ndarray, expected: np.ndarray) -> float:
    if not (_is_numeric(observed) and _is_numeric(expected)):
        return 0.0 if np.array_equal(observed, expected) else float("inf")
    return float(np.max(np.abs(observed.astype(np.float64) - expected.astype(np.float64)), initial=0.0))


def _is_numeric(array: np.ndarray) -> bool:
    return array.dtype.kind in "biufc"


def _top1(outputs: np.ndarray) -> np.ndarray:
    if outputs.size == 0:
        return np.zeros(len(outputs), np.int64)
    top: np.ndarray = outputs.reshape(len(outputs), -1).argmax(1)
    return top
