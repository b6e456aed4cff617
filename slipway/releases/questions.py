"""What a candidate is asked: the best source there is, and what every answer to it must fulfil."""

import time
from collections.abc import Iterable, Iterator, Mapping, Sequence
from itertools import cycle, islice
from typing import NamedTuple

import numpy as np
from tritonclient.utils import triton_to_np_dtype

from blocks.errors import VerificationFailed
from blocks.fleet import Tensors
from blocks.labels import INPUT_SHAPE_TAG
from slipway.formats.signature import Shape, Signature, TensorSpec
from slipway.releases.agreement import Comparison
from slipway.releases.agreement_terms import AgreementTerms
from slipway.releases.proof import Question
from slipway.releases.samples import Exchange, Samples, keep_few
from slipway.releases.served_shapes import shape_as_served
from slipway.releases.synthetic import SyntheticRequests, list_attempts

_PATIENCE_S = 60.0  # for all attempts: a model may take its time with inputs that are larger than it is used to


class Sources(NamedTuple):
    """All there is to ask a version with, the best first."""

    golden: Samples | None
    example: Tensors | None
    given: Mapping[str, Shape]
    seed: int
    requests: int


class Asked(NamedTuple):
    """What a candidate answered."""

    exchanges: list[Exchange]
    elapsed_ms: list[float]
    comparison: Comparison | None
    source: str


def ask_candidate(
    candidate: Question, signature: Signature, sources: Sources, terms: AgreementTerms, expected_shape: Shape | None
) -> Asked:
    """Ask a candidate for golden samples, else for the author's example, else for made-up inputs.

    What golden samples prove is not asked again with inputs that nobody knows to be any. Raises `VerificationFailed`
    where an answer is wrong, or cannot be one of the model.
    """
    if sources.golden is not None:
        return _ask_golden(candidate, signature, sources.golden, terms, sources.requests, expected_shape)
    if sources.example is not None:
        try:
            return _ask_example(candidate, signature, sources.example, sources.requests, expected_shape)
        except VerificationFailed:
            pass  # an example may be no request: made-up inputs decide
    return _ask_made_up(candidate, signature, sources, expected_shape)


def _ask_golden(
    candidate: Question,
    signature: Signature,
    golden: Samples,
    terms: AgreementTerms,
    count: int,
    expected_shape: Shape | None,
) -> Asked:
    exchanges = golden.list_exchanges(signature, candidate.batched, candidate.most_rows)
    comparison = candidate.compare(exchanges, terms)
    kept = keep_few(golden.list_exchanges(signature, candidate.batched, size=1))
    elapsed_ms = []
    for _, outputs, elapsed in ask_each(candidate, signature, _repeat(kept, count)):
        _check_shape(candidate.subject, signature, outputs, expected_shape)
        elapsed_ms.append(elapsed)
    return Asked(kept, elapsed_ms, comparison, f"{golden.count} golden samples")


def _ask_example(
    candidate: Question, signature: Signature, example: Tensors, count: int, expected_shape: Shape | None
) -> Asked:
    answered = list(ask_each(candidate, signature, islice(cycle([example]), count)))
    for _, outputs, _ in answered:
        check_answer(candidate.subject, signature, outputs, expected_shape)
    _check_finite(candidate.subject, [outputs for _, outputs, _ in answered])
    inputs, outputs, _ = answered[0]
    return Asked([Exchange(inputs, outputs)], [elapsed for *_, elapsed in answered], None, "MLflow's input example")


def _ask_made_up(candidate: Question, signature: Signature, sources: Sources, expected_shape: Shape | None) -> Asked:
    """Ask with made-up inputs of one size and kind after the other, until the model answers all of them."""
    refusal, tried, begun = None, [], time.monotonic()
    attempts = list_attempts(signature, sources.given, sources.requests, seed=sources.seed, subject=candidate.subject)
    for requests in attempts:
        try:
            return _ask_attempt(candidate, signature, requests, expected_shape)
        except VerificationFailed as error:
            refusal = refusal or error
            tried.append(requests.description)
            if time.monotonic() - begun > _PATIENCE_S:
                break
    hint = (
        f"; tried {'; then '.join(tried[:2])}{' and more' if len(tried) > 2 else ''}: where the model wants other "
        f"inputs, register it with golden samples or an input example, or say their shape with the tag "
        f"{INPUT_SHAPE_TAG}"
    )
    raise VerificationFailed(
        f"{refusal}{hint}", model_name=candidate.model_name, version=candidate.version, address=candidate.address
    ) from refusal


def _ask_attempt(
    candidate: Question, signature: Signature, requests: SyntheticRequests, expected_shape: Shape | None
) -> Asked:
    elapsed_ms: list[float] = []

    def answer_each() -> Iterator[Exchange]:
        for inputs, outputs, elapsed in ask_each(candidate, signature, requests):
            check_answer(candidate.subject, signature, outputs, expected_shape)
            elapsed_ms.append(elapsed)
            yield Exchange(inputs, outputs)

    kept = keep_few(answer_each())
    _check_finite(candidate.subject, [exchange.outputs for exchange in kept])
    return Asked(kept, elapsed_ms, None, f"made-up inputs: {requests.description}")


def ask_each(
    question: Question, signature: Signature, requests: Iterable[Tensors]
) -> Iterator[tuple[Tensors, Tensors, float]]:
    """Yield each request with its answer, in the model's own shapes, and the milliseconds it took.

    They are asked one after the other, so that only one is in memory.
    """
    names, last = [spec.name for spec in signature.outputs], Tensors()

    def sent() -> Iterator[Tensors]:
        nonlocal last
        for request in requests:
            last = request
            yield request

    for answer in question.ask(sent(), names):
        outputs = {
            spec.name: _shape_as_model(spec, answer.outputs[spec.name], question.batched) for spec in signature.outputs
        }
        yield last, outputs, answer.elapsed_ms


def check_answer(subject: str, signature: Signature, outputs: Tensors, expected_shape: Shape | None) -> None:
    """Raise `VerificationFailed` where shape, data type or values of an answer cannot be those of the model.

    Minus infinity is what a mask puts in the place of a number; NaN and infinity come of numbers that went wrong.
    """
    _check_shape(subject, signature, outputs, expected_shape)
    for name, output in outputs.items():
        if output.dtype.kind == "f" and not (output < np.inf).all():
            raise VerificationFailed(f"{subject}: output '{name}' holds NaN or infinity, expected numbers")


def _check_finite(subject: str, answers: list[Tensors]) -> None:
    """Raise `VerificationFailed` where an output is minus infinity all over."""
    for name in answers[0]:
        values = [outputs[name] for outputs in answers if outputs[name].dtype.kind == "f" and outputs[name].size]
        if values and not any(np.isfinite(output).any() for output in values):
            raise VerificationFailed(f"{subject}: output '{name}' holds infinity alone, expected numbers")


def _check_shape(subject: str, signature: Signature, outputs: Tensors, expected_shape: Shape | None) -> None:
    for spec in signature.outputs:
        dtype, output = np.dtype(triton_to_np_dtype(spec.dtype)), outputs[spec.name]
        if output.dtype != dtype or not spec.accepts(output.shape) or output.shape != (expected_shape or output.shape):
            raise VerificationFailed(
                f"{subject}: output '{spec.name}' is {output.dtype} {list(output.shape)}, expected {dtype} "
                f"{list(expected_shape or spec.shape)}"
            )


def _shape_as_model(spec: TensorSpec, output: np.ndarray, batched: bool) -> np.ndarray:
    """Return an output in the model's own shape: Triton gives [n, 1] for its [n], and [1] for a single number."""
    if len(output.shape) == len(spec.shape) + 1 and output.shape == shape_as_served(output.shape[:-1], batched):
        return output.reshape(output.shape[:-1])
    return output


def _repeat(exchanges: Sequence[Exchange], count: int) -> Iterator[Tensors]:
    return (exchange.inputs for exchange in islice(cycle(exchanges), count))
