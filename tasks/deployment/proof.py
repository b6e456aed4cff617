"""Proof that a replica serves a model: its answers to samples whose outputs are known."""

from collections.abc import Iterator
from dataclasses import dataclass, field
from io import BytesIO
from pathlib import Path
from typing import Annotated, Any, NamedTuple
from zipfile import BadZipFile

import numpy as np
from pydantic import BaseModel, ConfigDict, Field

from blocks.errors import IntegrityError, VerificationFailed
from blocks.fleet import Answer, Tensors, TritonFleet
from blocks.registry import ModelRegistry
from blocks.repository import ModelRepository
from tasks.deployment.fetch_model import GOLDEN_FILE, FetchedModel, local_files

PROOF_FILE = "proof.npz"
PROOF_BYTES = 2 * 1024**2
_BATCH = 8
_PROOF_SAMPLES = 8

Tolerance = Annotated[
    float, Field(gt=0, le=1, description="Largest difference from PyTorch's outputs, relative to their scale.")
]


@dataclass(frozen=True)
class Samples:
    """Inputs with the outputs a model gives for them; the first axis of every tensor counts the samples."""

    inputs: Tensors
    outputs: Tensors
    onnxruntime: Tensors = field(default_factory=dict)  # what ONNX Runtime gave in gate 2, where it was recorded

    @property
    def count(self) -> int:
        """Number of samples."""
        return len(next(iter(self.inputs.values())))

    def first(self, count: int) -> "Samples":
        """Return the first samples."""
        groups = (self.inputs, self.outputs, self.onnxruntime)
        return Samples(*({name: array[:count] for name, array in tensors.items()} for tensors in groups))

    def requests(self, batched: bool, size: int = _BATCH) -> Iterator[Tensors]:
        """Yield the inputs as requests of `size` samples, of one each where the model takes no batches."""
        for start in range(0, self.count, size if batched else 1):
            end = start + size
            yield {name: array[start:end] if batched else array[start] for name, array in self.inputs.items()}

    def small(self) -> "Samples":
        """Return as many of the first samples as are quickly read and asked for, at least one."""
        tensors = (*self.inputs.values(), *self.outputs.values())
        sample_bytes = sum(array.nbytes for array in tensors) / self.count
        return self.first(max(1, min(_PROOF_SAMPLES, int(PROOF_BYTES / sample_bytes))))


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

    def answer(self, samples: Samples) -> Tensors:
        """Return the outputs for all samples; `VerificationFailed` where another version answers."""
        version = self.version if self.pinned else None
        requests = samples.requests(self.batched)
        answers = list(self.fleet.answers(self.address, self.name, requests, list(samples.outputs), version))
        observed = {answer.version for answer in answers}
        if observed != {self.version}:
            raise VerificationFailed(
                f"{self.subject}: answered by versions {sorted(observed)}, expected {self.version}"
            )
        return {
            name: np.concatenate([answer.outputs[name].reshape(-1, *expected.shape[1:]) for answer in answers])
            for name, expected in samples.outputs.items()
        }

    def compare(self, samples: Samples, tolerance: float) -> Comparison:
        """Compare a replica's answers; `VerificationFailed` where one differs from the known outputs."""
        answers = self.answer(samples)
        agreements, differences = [], []
        for name, expected in samples.outputs.items():
            difference = largest_difference(answers[name], expected)
            if not difference <= tolerance:
                raise VerificationFailed(
                    f"{self.subject}: output '{name}' differs from the golden samples by {difference:.1e} of their "
                    f"scale, {tolerance:.0e} is allowed; the replica does not serve the proven model"
                )
            agreements.append(float(np.mean(_top1(answers[name]) == _top1(expected))))
            differences.append(difference)
        if min(agreements) < 1.0:
            raise VerificationFailed(
                f"{self.subject}: {min(agreements):.1%} of the golden samples get the class PyTorch gave them, "
                "expected all; the replica does not serve the proven model"
            )
        to_onnxruntime = [largest_difference(answers[name], array) for name, array in samples.onnxruntime.items()]
        return Comparison(
            samples=samples.count,
            top1_agreement=min(agreements),
            max_difference=max(differences),
            max_difference_onnxruntime=max(to_onnxruntime, default=None),
        )


def as_samples(inputs: list[Tensors], answers: list[Answer], batched: bool) -> Samples:
    """Return requests and their answers as samples: what proves a model that has no golden ones."""
    joined = np.concatenate if batched else np.stack
    return Samples(
        {name: joined([batch[name] for batch in inputs]) for name in inputs[0]},
        {name: joined([answer.outputs[name] for answer in answers]) for name in answers[0].outputs},
    )


def golden_samples(fetched: FetchedModel, registry: ModelRegistry) -> Samples | None:
    """Return the samples a model was registered with, None where there are none."""
    return read_samples(local_files(fetched, registry) / GOLDEN_FILE) if fetched.golden else None


def read_samples(content: Path | BytesIO) -> Samples:
    """Read samples from an npz with the keys input/<tensor>, output/<tensor> and onnxruntime/<tensor>."""
    with np.load(content, allow_pickle=False) as arrays:
        groups = [
            {key.removeprefix(f"{kind}/"): arrays[key] for key in arrays.files if key.startswith(f"{kind}/")}
            for kind in ("input", "output", "onnxruntime")
        ]
    return Samples(*groups)


def read_proof(repository: ModelRepository, model_name: str, version: int) -> Samples | None:
    """Return the samples that prove a released version, None where none were recorded.

    Raises `IntegrityError` where they cannot be read.
    """
    content = repository.read_record(model_name, version, PROOF_FILE)
    try:
        samples = read_samples(BytesIO(content)) if content is not None else None
    except (ValueError, KeyError, EOFError, OSError, BadZipFile) as error:
        raise _unreadable(model_name, version, str(error)) from error
    if samples is not None and not (samples.inputs and samples.outputs):
        raise _unreadable(model_name, version, "it holds no inputs, or no outputs")
    return samples


def _unreadable(model_name: str, version: int, why: str) -> IntegrityError:
    return IntegrityError(
        f"model '{model_name}' version {version}: its record {PROOF_FILE} cannot be read ({why[:300]}); release it "
        "again"
    )


def write_proof(repository: ModelRepository, model_name: str, version: int, samples: Samples) -> None:
    """Record the samples that prove a version."""
    content = BytesIO()
    groups = {"input": samples.inputs, "output": samples.outputs, "onnxruntime": samples.onnxruntime}
    arrays: dict[str, Any] = {
        f"{kind}/{name}": array for kind, group in groups.items() for name, array in group.items()
    }
    np.savez(content, **arrays)
    repository.write_record(model_name, version, PROOF_FILE, content.getvalue())


def largest_difference(observed: np.ndarray, expected: np.ndarray) -> float:
    """Return max|observed - expected| / max|expected|, NaN where either holds one."""
    if observed.dtype.kind not in "biufc":
        return 0.0 if np.array_equal(observed, expected) else float("inf")
    scale = float(np.max(np.abs(expected.astype(np.float64)), initial=0.0)) or 1.0
    return float(np.max(np.abs(observed.astype(np.float64) - expected.astype(np.float64)), initial=0.0)) / scale


def _top1(outputs: np.ndarray) -> np.ndarray:
    top: np.ndarray = outputs.reshape(len(outputs), -1).argmax(1)
    return top
