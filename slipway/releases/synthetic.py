"""Synthetic requests: inputs made from a model's signature, and what every answer to them must fulfil."""

import math
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import overload

import numpy as np
from tritonclient.utils import triton_to_np_dtype

from blocks.errors import InvalidInput, VerificationFailed, bounded
from blocks.fleet import Answer, Tensors
from slipway.formats.signature import Shape, Signature, TensorSpec
from slipway.releases.proof import Question

# While it is sent a request is in memory about four times, flow pods have 4 GiB, and gRPC ends at 2 GiB.
MAX_REQUEST_BYTES = 512 * 1024**2
HELD_BYTES = 64 * 1024**2
_TEXT_BYTES = 16


@dataclass(frozen=True)
class SyntheticRequests(Sequence[Tensors]):
    """Different inputs, each made when it is asked for and the same each time; another seed, other inputs."""

    specs: tuple[TensorSpec, ...]
    shape: Shape | None
    number: int
    seed: int

    @property
    def request_bytes(self) -> int:
        """Size of one request."""
        return sum(math.prod(_find_size(spec, self.shape)) * _count_item_bytes(spec) for spec in self.specs)

    def __len__(self) -> int:
        return self.number

    @overload
    def __getitem__(self, index: int) -> Tensors: ...
    @overload
    def __getitem__(self, index: slice) -> Sequence[Tensors]: ...
    def __getitem__(self, index: int | slice) -> Tensors | Sequence[Tensors]:
        if isinstance(index, slice):
            return [self[position] for position in range(*index.indices(self.number))]
        if not 0 <= index < self.number:
            raise IndexError(index)
        random = np.random.default_rng((self.seed, index))
        return {spec.name: _draw(spec, self.shape, random) for spec in self.specs}

    def hold(self) -> list[Tensors]:
        """Return as many of the first as may be kept, one at least, for measurements that making them would disturb."""
        return list(self[: max(1, HELD_BYTES // max(1, self.request_bytes))])


def make_requests(
    signature: Signature, shape: Shape | None, count: int, *, seed: int, subject: str
) -> SyntheticRequests:
    """Return `count` inputs: standard normal for floats, 0 to 9 for integers.

    Raises `InvalidInput` where a single one is larger than a request may be.
    """
    requests = SyntheticRequests(signature.inputs, shape, count, seed)
    if requests.request_bytes > MAX_REQUEST_BYTES:
        sizes = ", ".join(f"{spec.name} {spec.dtype} {list(_find_size(spec, shape))}" for spec in signature.inputs)
        raise InvalidInput(
            f"{subject}: one request ({sizes}) has {requests.request_bytes / 1024**2:.0f} MiB, "
            f"{MAX_REQUEST_BYTES // 1024**2} MiB are allowed; give a smaller expected_input_shape, or export the model "
            "with dynamic axes"
        )
    return requests


def check_answers(
    question: Question, signature: Signature, inputs: Iterable[Tensors], expected_shape: Shape | None
) -> Iterator[tuple[Tensors, Answer]]:
    """Yield each request with its answer, asked one after the other, so that only one is in memory.

    Raises `VerificationFailed` where an answer's shape, data type or values cannot be those of the model.
    """
    names, last = [spec.name for spec in signature.outputs], Tensors()

    def sent() -> Iterator[Tensors]:
        nonlocal last
        for request in inputs:
            last = request
            yield request

    for answer in question.fleet.answers(question.address, question.name, sent(), names, question.version):
        for spec in signature.outputs:
            _check(question.subject, spec, answer.outputs[spec.name], expected_shape)
        yield last, answer


def _check(subject: str, spec: TensorSpec, output: np.ndarray, expected_shape: Shape | None) -> None:
    dtype = np.dtype(triton_to_np_dtype(spec.dtype))
    if output.dtype != dtype or not spec.accepts(output.shape) or output.shape != (expected_shape or output.shape):
        raise VerificationFailed(
            f"{subject}: output '{spec.name}' is {output.dtype} {list(output.shape)}, expected {dtype} "
            f"{list(expected_shape or spec.shape)}"
        )
    if output.dtype.kind != "f" or output.size == 0:
        return
    if not np.isfinite(output).all():
        raise VerificationFailed(f"{subject}: output '{spec.name}' holds NaN or infinity, expected numbers")
    sums = _compute_softmax(np.atleast_1d(output)).sum(axis=-1)
    if not np.allclose(sums, 1.0, atol=1e-4):
        raise VerificationFailed(f"{subject}: softmax of output '{spec.name}' sums to {bounded(sums, 200)}, expected 1")


def _find_size(spec: TensorSpec, shape: Shape | None) -> Shape:
    return shape or tuple(1 if isinstance(axis, str) else axis for axis in spec.shape)


def _count_item_bytes(spec: TensorSpec) -> int:
    dtype = np.dtype(triton_to_np_dtype(spec.dtype))
    return _TEXT_BYTES if dtype.kind == "O" else dtype.itemsize


def _draw(spec: TensorSpec, shape: Shape | None, random: np.random.Generator) -> np.ndarray:
    size, dtype = _find_size(spec, shape), np.dtype(triton_to_np_dtype(spec.dtype))
    if dtype.kind == "f":
        drawn = random.standard_normal(size, dtype=np.float64 if dtype == np.float64 else np.float32)
        return np.asarray(drawn, dtype=dtype)
    if dtype.kind == "O":
        return np.full(size, b"synthetic", dtype=np.object_)
    return np.asarray(random.integers(0, 2 if dtype.kind == "b" else 10, size, dtype=dtype.type))


def _compute_softmax(values: np.ndarray) -> np.ndarray:
    shifted: np.ndarray = np.exp(values.astype(np.float64) - values.max(axis=-1, keepdims=True))
    probabilities: np.ndarray = shifted / shifted.sum(axis=-1, keepdims=True)
    return probabilities
