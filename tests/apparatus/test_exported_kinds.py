"""Real exporters' models run in this process, and are of the kind they are said to be."""

from itertools import combinations

import pytest

from tests.apparatus.answers import find_difference
from tests.apparatus.joining import joins
from tests.apparatus.kinds.exported import EXPORTED_KINDS
from tests.apparatus.kinds.kind import ModelKind, Tensors, open_session


@pytest.mark.parametrize("kind", EXPORTED_KINDS.values(), ids=EXPORTED_KINDS.keys())
def test_an_exported_model_answers_each_request_and_joins_them_where_it_is_said_to(kind: ModelKind) -> None:
    session = open_session(kind.build(1))
    exchanges = kind.requests(1, 6)
    pairs = [(a, b) for a, b in combinations(exchanges, 2) if _row_shapes(a.inputs) == _row_shapes(b.inputs)]

    assert any(find_difference(exchanges[0].outputs, other.outputs, kind.tolerance) for other in exchanges[1:])
    if kind.is_batched is not None:
        assert all(joins(session, *pair, kind.tolerance) for pair in pairs) == kind.is_batched
    assert kind.varies


def _row_shapes(tensors: Tensors) -> dict[str, tuple[int, ...]]:
    return {name: array.shape[1:] for name, array in tensors.items()}
