"""Each kind of model is what the table says of it, before any server is asked."""

from itertools import combinations
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest

from tests.apparatus.answers import find_difference
from tests.apparatus.joining import REFUSALS, joins
from tests.apparatus.kinds.kind import ModelKind, Tensors, answer, open_session
from tests.apparatus.model_kinds import REFUSED_KINDS, SERVED_KINDS

KINDS = {**SERVED_KINDS, **REFUSED_KINDS}
every_kind = pytest.mark.parametrize("kind", SERVED_KINDS.values(), ids=SERVED_KINDS.keys())
every_refused_kind = pytest.mark.parametrize("kind", REFUSED_KINDS.values(), ids=REFUSED_KINDS.keys())
REQUESTS = 6


def test_the_table_holds_what_was_asked_for() -> None:
    assert len(KINDS) >= 44
    assert len(KINDS) == len(SERVED_KINDS) + len(REFUSED_KINDS)


@every_kind
def test_it_answers_different_requests(kind: ModelKind) -> None:
    exchanges = kind.requests(1, REQUESTS)

    assert any(not _are_equal(exchanges[0].inputs, other.inputs) for other in exchanges[1:])
    assert any(find_difference(exchanges[0].outputs, other.outputs, kind.tolerance) for other in exchanges[1:])


@every_kind
def test_another_seed_gives_other_weights(kind: ModelKind) -> None:
    first, second = (kind.requests(seed, REQUESTS) for seed in (1, 2))

    assert kind.varies
    differences = [find_difference(a.outputs, b.outputs, kind.tolerance) for a, b in zip(first, second, strict=True)]
    assert any(differences)


@every_kind
def test_its_requests_may_be_joined_where_the_table_says_so(kind: ModelKind) -> None:
    session = open_session(kind.build(1))
    exchanges = kind.requests(1, REQUESTS)
    pairs = [(a, b) for a, b in combinations(exchanges, 2) if _shapes(a.inputs) == _shapes(b.inputs)]

    alone = [joins(session, a, b, kind.tolerance) for a, b in pairs]

    assert pairs
    assert all(alone) if kind.is_batched else not all(alone)


@every_kind
def test_its_files_are_a_model_with_its_golden_samples(kind: ModelKind, tmp_path: Path) -> None:
    kind.save(tmp_path / "model" if kind.has_example else tmp_path, 1)

    found = next(tmp_path.rglob("model.onnx"))
    onnx.checker.check_model(str(found))
    assert len(list(found.parent.glob("*.data"))) == kind.data_files
    assert (found.parent / "golden.npz").exists() == bool(kind.samples)
    assert (found.parent / "input_example.json").exists() == kind.has_example


@every_kind
def test_its_golden_samples_are_read_without_pickles(kind: ModelKind, tmp_path: Path) -> None:
    golden: dict[str, Any] = {**kind.golden(1)}
    np.savez(tmp_path / "golden.npz", **golden)

    with np.load(tmp_path / "golden.npz", allow_pickle=False) as found:
        counts = {len(found[key]) for key in found.files}

    assert len(counts) == (1 if kind.samples else 0)


@every_refused_kind
def test_a_refused_kind_is_written_too(kind: ModelKind, tmp_path: Path) -> None:
    kind.save(tmp_path, 1)

    assert (tmp_path / "model.onnx").exists()


@pytest.mark.parametrize(
    ("name", "inputs"),
    [
        ("images of any size", {"image": np.ones((1, 3, 30, 30), np.float32)}),
        ("tiles, with an input example", {"image": np.ones((1, 1, 64, 64), np.float32)}),
        ("signals of a least length", {"signal": np.ones((1, 1, 8), np.float32)}),
        ("valid indices", {"index": np.array([[0, 1, 5]])}),
    ],
)
def test_what_does_not_fit_a_kind_is_an_error(name: str, inputs: Tensors) -> None:
    session = open_session(SERVED_KINDS[name].build(1))

    with pytest.raises(REFUSALS):
        answer(session, inputs)


def test_a_detector_finds_nothing_in_some_images_and_something_in_others() -> None:
    exchanges = SERVED_KINDS["detector that often finds nothing"].requests(1, 8)

    counts = {len(exchange.outputs["boxes"]) for exchange in exchanges}

    assert 0 in counts
    assert len(counts) > 1


@pytest.mark.parametrize(
    ("found", "right", "is_right"),
    [
        ([1.0, -np.inf, np.nan], [1.0, -np.inf, np.nan], True),
        ([1.0, np.inf, 0.0], [1.0, -np.inf, 0.0], False),
        ([1.0, np.nan], [1.0, 0.0], False),
        ([1000.5, 0.0], [1000.0, 0.0], True),
        ([1002.0, 0.0], [1000.0, 0.0], False),
        ([[1.0], [2.0]], [1.0, 2.0], True),
        ([[1.0, 2.0]], [1.0, 2.0], True),
        ([[2.0], [1.0]], [1.0, 2.0], False),
        ([1.0, 2.0], [1.0], False),
    ],
)
def test_an_answer_is_right_within_the_tolerance(found: list[float], right: list[float], is_right: bool) -> None:
    difference = find_difference({"y": np.array(found)}, {"y": np.array(right)}, 1e-3)

    assert (difference is None) == is_right


def test_text_is_right_where_it_is_equal() -> None:
    sent, right = np.array(["süd".encode()], object), np.array(["süd"], object)

    assert find_difference({"y": sent}, {"y": right}, 1e-3) is None
    assert find_difference({"y": sent}, {"y": np.array(["sud"], object)}, 1e-3) is not None


def _are_equal(first: Tensors, second: Tensors) -> bool:
    return all(np.array_equal(first[name], second[name]) for name in first)


def _shapes(inputs: Tensors) -> dict[str, tuple[int, ...]]:
    return {name: array.shape[1:] for name, array in inputs.items()}
