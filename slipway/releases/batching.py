"""Batching is proved, not assumed: requests that are joined have to get the answers they get alone."""

from collections.abc import Sequence
from contextlib import suppress

import numpy as np

from blocks.errors import VerificationFailed
from blocks.fleet import Tensors
from slipway.formats.signature import Signature
from slipway.releases.agreement_terms import AgreementKind, AgreementTerms
from slipway.releases.proof import Question
from slipway.releases.questions import ask_each
from slipway.releases.samples import Exchange, count_bytes
from slipway.releases.synthetic import HELD_BYTES

_JOINED = 4


def prove_batching(
    candidate: Question,
    signature: Signature,
    exchanges: Sequence[Exchange],
    terms: AgreementTerms,
    max_batch_size: int,
) -> str:
    """Join different requests into one, and compare its answers with what each gets alone; return what was shown.

    Raises `VerificationFailed` where they differ, are of other numbers of rows, or where joined requests are refused.

    Args:
        candidate: whom to ask.
        signature: what it takes and gives.
        exchanges: requests that it answers.
        terms: on which terms answers agree.
        max_batch_size: how many rows may be joined.
    """
    if max_batch_size < 2:
        return "one row at a time"
    answered = _ask_alone(candidate, signature, [exchange.inputs for exchange in exchanges], max_batch_size)
    for chosen in (answered, answered[::-1]):
        _compare_joined(candidate, signature, chosen, terms)
    return f"proven with {len(answered)} requests, joined in two orders"


def _compare_joined(candidate: Question, signature: Signature, answered: list[Exchange], terms: AgreementTerms) -> None:
    known, rows = [exchange.outputs for exchange in answered], [_count_rows(exchange.inputs) for exchange in answered]
    names = [spec.name for spec in signature.inputs]
    joined = {name: np.concatenate([exchange.inputs[name] for exchange in answered]) for name in names}
    subject = f"{candidate.subject}: {len(rows)} requests joined into one batch"
    try:
        [(_, outputs, _)] = ask_each(candidate, signature, [joined])
    except VerificationFailed as error:
        # A replica that was lost is no model that refuses batches: it has to answer one of the requests alone still.
        alone = {name: array[: rows[0]] for name, array in joined.items()}
        list(ask_each(candidate, signature, [alone]))
        raise VerificationFailed(f"{subject} are refused ({error})") from error
    for spec in signature.outputs:
        found = outputs[spec.name]
        expected = [answer[spec.name] for answer in known]
        lengths = [len(array) if array.ndim else 0 for array in expected]
        if lengths != rows or found.ndim == 0 or len(found) != sum(rows):
            raise VerificationFailed(
                f"{subject}: output '{spec.name}' is {list(found.shape)} for {sum(rows)} rows, and {lengths} rows for "
                f"{rows} alone, expected one a row: its first axis is none of a batch"
            )
    exchange = Exchange(joined, {name: np.concatenate([each[name] for each in known]) for name in known[0]})
    numeric = terms.model_copy(update={"kind": AgreementKind.NUMERIC})
    kind = terms if terms.kind is AgreementKind.CLASSES else numeric
    try:
        candidate.compare([exchange], kind)
    except VerificationFailed as error:
        raise VerificationFailed(f"{subject} get other answers than each alone ({error})") from error


def _ask_alone(
    candidate: Question, signature: Signature, requests: list[Tensors], max_batch_size: int
) -> list[Exchange]:
    """Ask for different requests that can be joined, each alone: alike but for the rows, some of them made up.

    Raises `VerificationFailed` where there are no two that the model answers.
    """
    first = requests[0]
    held = HELD_BYTES // max(1, count_bytes(first))
    most = max(2, min(_JOINED, held, max_batch_size // max(1, _count_rows(first))))
    given = [_cut(request, max_batch_size // most) for request in requests if _describe(request) == _describe(first)]
    answered = [Exchange(inputs, outputs) for inputs, outputs, _ in ask_each(candidate, signature, given[:most])]
    for by in range(1, most - len(answered) + 1):
        with suppress(VerificationFailed):  # what is made up may be refused
            [(inputs, outputs, _)] = ask_each(candidate, signature, [_vary(given[0], by)])
            answered.append(Exchange(inputs, outputs))
    if len(answered) < 2:
        raise VerificationFailed(f"{candidate.subject}: answers one request only, expected two that can be joined")
    return answered


def _cut(request: Tensors, rows: int) -> Tensors:
    return {name: array[: max(1, rows)] for name, array in request.items()}


def _vary(request: Tensors, by: int) -> Tensors:
    """Return another request of the same values in another order: what was valid stays so."""
    return {name: np.roll(array.reshape(-1), by).reshape(array.shape) for name, array in request.items()}


def _describe(request: Tensors) -> list[tuple[str, str, tuple[int, ...]]]:
    return sorted((name, array.dtype.str, array.shape[1:]) for name, array in request.items())


def _count_rows(request: Tensors) -> int:
    return len(next(iter(request.values())))
