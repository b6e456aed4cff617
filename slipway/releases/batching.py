"""Batching is proved, not assumed: requests that are joined have to get the answers they get alone."""

from collections.abc import Sequence
from itertools import pairwise

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
    requests = _choose_requests([exchange.inputs for exchange in exchanges], max_batch_size)
    alone = [outputs for _, outputs, _ in ask_each(candidate, signature, requests)]
    for chosen in (range(len(requests)), range(len(requests) - 1, -1, -1)):
        joined = {spec.name: np.concatenate([requests[i][spec.name] for i in chosen]) for spec in signature.inputs}
        known = [alone[i] for i in chosen]
        rows = [_count_rows(requests[i]) for i in chosen]
        _compare_joined(candidate, signature, joined, known, rows, terms)
    return f"proven with {len(requests)} requests, joined in two orders"


def _compare_joined(
    candidate: Question,
    signature: Signature,
    joined: Tensors,
    known: list[Tensors],
    rows: list[int],
    terms: AgreementTerms,
) -> None:
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


def _choose_requests(requests: list[Tensors], max_batch_size: int) -> list[Tensors]:
    """Return different requests that can be joined: alike but for the rows, made up where there is but one."""
    first = requests[0]
    alike = [request for request in requests if _describe(request) == _describe(first)]
    held = HELD_BYTES // max(1, count_bytes(first))
    most = max(2, min(_JOINED, held, max_batch_size // max(1, _count_rows(first))))
    chosen = alike[:most]
    while len(chosen) < min(2, most) or (len(chosen) < most and _are_equal(chosen)):
        chosen.append(_vary(first, len(chosen)))
    return [_cut(request, max_batch_size // len(chosen)) for request in chosen]


def _cut(request: Tensors, rows: int) -> Tensors:
    return {name: array[: max(1, rows)] for name, array in request.items()}


def _are_equal(requests: list[Tensors]) -> bool:
    return all(all(np.array_equal(one[name], other[name]) for name in one) for one, other in pairwise(requests))


def _vary(request: Tensors, by: int) -> Tensors:
    """Return another request of the same values in another order: what was valid stays so."""
    return {name: np.roll(array.reshape(-1), by).reshape(array.shape) for name, array in request.items()}


def _describe(request: Tensors) -> list[tuple[str, str, tuple[int, ...]]]:
    return sorted((name, array.dtype.str, array.shape[1:]) for name, array in request.items())


def _count_rows(request: Tensors) -> int:
    return len(next(iter(request.values())))
