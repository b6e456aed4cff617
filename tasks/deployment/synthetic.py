"""Synthetic requests: inputs made from a model's signature, and what every answer to them must fulfil."""

from collections.abc import Iterator

import numpy as np
from tritonclient.utils import triton_to_np_dtype

from blocks.errors import VerificationFailed
from blocks.fleet import Answer, Tensors
from tasks.deployment.model_files import ModelSignature, TensorSpec
from tasks.deployment.prepare_artifacts import Shape
from tasks.deployment.proof import Question


def synthetic_inputs(signature: ModelSignature, shape: Shape | None, count: int, seed: int) -> Iterator[Tensors]:
    """Yield `count` different inputs: standard normal for floats, 0 to 9 for integers; another seed, other inputs."""
    random = np.random.default_rng(seed)
    for _ in range(count):
        yield {spec.name: _synthetic(spec, shape, random) for spec in signature.inputs}


def checked_answers(
    question: Question, signature: ModelSignature, inputs: list[Tensors], expected_shape: Shape | None
) -> list[Answer]:
    """Return the answer to each request, one after the other.

    Raises `VerificationFailed` where an answer's shape, data type or values cannot be those of the model.
    """
    names = [spec.name for spec in signature.outputs]
    answers = list(question.fleet.answers(question.address, question.name, inputs, names, question.version))
    for answer in answers:
        for spec in signature.outputs:
            _check(question.subject, spec, answer.outputs[spec.name], expected_shape)
    return answers


def _check(subject: str, spec: TensorSpec, output: np.ndarray, expected_shape: Shape | None) -> None:
    dtype = np.dtype(triton_to_np_dtype(spec.dtype))
    if output.dtype != dtype or not spec.accepts(output.shape) or output.shape != (expected_shape or output.shape):
        raise VerificationFailed(
            f"{subject}: output '{spec.name}' is {output.dtype} {list(output.shape)}, expected {dtype} "
            f"{list(expected_shape or spec.shape)}"
        )
    if output.dtype.kind != "f":
        return
    if not np.isfinite(output).all():
        raise VerificationFailed(f"{subject}: output '{spec.name}' holds NaN or infinity, expected numbers")
    sums = _softmax(output).sum(axis=-1)
    if not np.allclose(sums, 1.0, atol=1e-4):
        raise VerificationFailed(f"{subject}: softmax of output '{spec.name}' sums to {sums}, expected 1")


def _synthetic(spec: TensorSpec, shape: Shape | None, random: np.random.Generator) -> np.ndarray:
    size = shape or tuple(1 if isinstance(axis, str) else axis for axis in spec.shape)
    dtype = np.dtype(triton_to_np_dtype(spec.dtype))
    if dtype.kind == "f":
        return random.standard_normal(size).astype(dtype)
    if dtype.kind == "O":
        return np.full(size, b"synthetic", dtype=np.object_)
    values: np.ndarray = random.integers(0, 2 if dtype.kind == "b" else 10, size)
    return values.astype(dtype)


def _softmax(values: np.ndarray) -> np.ndarray:
    shifted: np.ndarray = np.exp(values.astype(np.float64) - values.max(axis=-1, keepdims=True))
    probabilities: np.ndarray = shifted / shifted.sum(axis=-1, keepdims=True)
    return probabilities
