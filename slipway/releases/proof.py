"""Proof that a replica serves a model: its answers to samples whose outputs are known."""

from collections.abc import Iterator
from io import BytesIO
from typing import Annotated, NamedTuple

from pydantic import Field

from blocks.errors import IntegrityError, UnusableModel, VerificationFailed
from blocks.fleet import Answer, TritonFleet
from blocks.labels import PROOF_FILE
from blocks.repository import ModelRepository
from slipway.releases.agreement import Comparison, Numeric
from slipway.releases.samples import Samples, pack, read_samples

Tolerance = Annotated[
    float, Field(gt=0, le=1, description="Largest difference from PyTorch's outputs, relative to their scale.")
]


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

    @property
    def unpinned(self) -> "Question":
        """The same, asked as clients do that name no version."""
        return self._replace(pinned=False)

    def ask(self, samples: Samples) -> Iterator[Answer]:
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
        known = {name: Numeric(expected) for name, expected in samples.outputs.items()}
        onnxruntime = {name: Numeric(expected) for name, expected in samples.onnxruntime.items()}
        for answer in self.ask(samples):
            for name, output in answer.outputs.items():
                for agreements in (known, onnxruntime):
                    if name in agreements:
                        agreements[name].add(output, f"{self.subject}: output '{name}'")
        for name, agreement in known.items():
            agreement.check(tolerance, f"{self.subject}: output '{name}'")
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
    repository.write_record(model_name, version, PROOF_FILE, pack(samples))
