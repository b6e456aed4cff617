"""Synthetic requests are made one at a time, the same each time, and none is larger than may be sent."""

import math
import tracemalloc
from collections.abc import Iterable, Iterator
from typing import ClassVar

import numpy as np
import pytest

from blocks.errors import InvalidInput, VerificationFailed
from blocks.fleet import Answer, Tensors, TritonFleet
from slipway.formats.signature import Signature, TensorSpec
from slipway.releases.agreement_terms import AgreementTerms
from slipway.releases.proof import Question
from slipway.releases.questions import Asked, Sources, ask_candidate
from slipway.releases.synthetic import MAX_REQUEST_BYTES, list_attempts, make_requests, read_given_shapes

SUBJECT = "model 'm' version 1"
MIB = 1024**2


def signature(dtype: str = "FP32", shape: tuple[int | str, ...] = ("batch", 4)) -> Signature:
    output = TensorSpec(name="output", dtype="FP32", shape=("batch", 3))
    return Signature(inputs=(TensorSpec(name="input", dtype=dtype, shape=shape),), outputs=(output,), opset=20)


def ask(
    fleet: TritonFleet, described: Signature, count: int = 2, given: dict[str, tuple[int, ...]] | None = None
) -> Asked:
    sources = Sources(golden=None, example=None, given=given or {}, seed=1, requests=count)
    return ask_candidate(Question(fleet, "a:1", "m", 1, True), described, sources, AgreementTerms(), None)


class EchoingFleet(TritonFleet):
    """A fleet that answers each request with three numbers as soon as it is made."""

    _block_type_name = "Echoing fleet"
    _block_type_slug = "echoing-fleet"

    def answers(
        self, address: str, model_name: str, batches: Iterable[Tensors], outputs: list[str], version: int | None
    ) -> Iterator[Answer]:
        for batch in batches:
            first = batch["input"].reshape(-1)[:1]
            yield Answer(version or 0, {name: first * np.ones((1, 3), np.float32) for name in outputs}, 1.0)


@pytest.mark.parametrize("dtype", ["FP16", "FP32", "FP64", "INT8", "UINT8", "INT32", "UINT64", "BOOL", "BYTES"])
def test_requests_differ_from_each_other_and_are_the_same_each_time(dtype: str) -> None:
    requests = make_requests(signature(dtype, ("batch", 64)), {}, 3, seed=7, subject=SUBJECT)

    values = [request["input"] for request in requests]

    assert [array.shape for array in values] == [(1, 64)] * 3
    assert all(np.array_equal(first, second["input"]) for first, second in zip(values, requests, strict=True))
    assert not np.array_equal(values[0], values[1])
    assert all(array.dtype.kind == "O" or array.nbytes == requests.request_bytes for array in values)


def test_another_seed_makes_other_requests() -> None:
    first, second = (make_requests(signature(), {}, 1, seed=seed, subject=SUBJECT)[0]["input"] for seed in (1, 2))

    assert not np.array_equal(first, second)


def test_only_one_request_is_in_memory_however_many_are_asked() -> None:
    large = signature(shape=("batch", 3, 1024, 1024))
    request_bytes = make_requests(large, {}, 1, seed=1, subject=SUBJECT).request_bytes

    tracemalloc.start()
    asked = ask(EchoingFleet(replicas=["a:1"]), large, 20)
    _, peak_bytes = tracemalloc.get_traced_memory()
    tracemalloc.stop()

    assert (len(asked.elapsed_ms), len(asked.exchanges)) == (20, 1)
    assert peak_bytes < 4 * request_bytes


class FixedFleet(TritonFleet):
    """A fleet that answers every request alike."""

    _block_type_name = "Fixed fleet"
    _block_type_slug = "fixed-fleet"
    output: ClassVar[np.ndarray]

    def answers(
        self, address: str, model_name: str, batches: Iterable[Tensors], outputs: list[str], version: int | None
    ) -> Iterator[Answer]:
        for _ in batches:
            yield Answer(version or 0, dict.fromkeys(outputs, self.output), 1.0)


@pytest.mark.parametrize(
    ("shape", "output", "message"),
    [
        ((), np.float32(3).reshape(()), None),
        (("boxes", 4), np.zeros((0, 4), np.float32), None),
        (("batch",), np.ones((1, 1), np.float32), None),
        (("batch", 3), np.ones((1, 3), np.float64), r"is float64 \[1, 3\], expected float32"),
        (("batch", 3), np.ones((1, 4), np.float32), r"is float32 \[1, 4\]"),
        (("batch", 3), np.array([[1, np.inf, 0]], np.float32), r"holds NaN or infinity"),
        (("batch", 3), np.array([[1, np.nan, 0]], np.float32), r"holds NaN or infinity"),
        (("batch", 3), np.array([[1, -np.inf, 0]], np.float32), None),
        (("batch", 3), np.full((1, 3), -np.inf, np.float32), r"holds infinity alone"),
    ],
)
def test_an_answer_of_any_shape_is_looked_at(
    shape: tuple[int | str, ...], output: np.ndarray, message: str | None, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(FixedFleet, "output", np.asarray(output), raising=False)
    fleet = FixedFleet(replicas=["a:1"])
    described = signature()
    described = described.model_copy(update={"outputs": (TensorSpec(name="output", dtype="FP32", shape=shape),)})

    if message is None:
        assert len(ask(fleet, described).elapsed_ms) == 2
    else:
        with pytest.raises(VerificationFailed, match=message):
            ask(fleet, described)


@pytest.mark.parametrize(
    ("shape", "given"),
    [
        (("batch", 3, 65_536, 65_536), None),
        (("batch", "size"), (64, 10 * MIB)),
        (("batch", 2**40, 2**40), None),
        (("batch", MAX_REQUEST_BYTES // 4 + 1), None),
    ],
)
def test_a_request_that_is_too_large_is_refused_before_it_is_made(
    shape: tuple[int | str, ...], given: tuple[int, ...] | None
) -> None:
    shapes = {"input": given} if given else {}
    with pytest.raises(InvalidInput, match=r"one request \(input FP32 \[.*\]\) has \d+ MiB, 512 MiB are allowed"):
        make_requests(signature(shape=shape), shapes, 20, seed=1, subject=SUBJECT)


class ChoosyFleet(TritonFleet):
    """A fleet that refuses inputs smaller than 64, and those that hold a negative number."""

    _block_type_name = "Choosy fleet"
    _block_type_slug = "choosy-fleet"

    def answers(
        self, address: str, model_name: str, batches: Iterable[Tensors], outputs: list[str], version: int | None
    ) -> Iterator[Answer]:
        for batch in batches:
            if min(batch["input"].shape[1:]) < 64 or batch["input"].min() < 0:
                raise VerificationFailed("refused: too small, or negative")
            yield Answer(version or 0, {name: np.ones((1, 3), np.float32) for name in outputs}, 1.0)


def test_dynamic_axes_are_tried_in_several_sizes_and_with_several_values() -> None:
    asked = ask(ChoosyFleet(replicas=["a:1"]), signature(shape=("batch", "height", "width")))

    assert asked.exchanges[0].inputs["input"].shape == (1, 64, 64)
    assert asked.source == "made-up inputs: input [1, 64, 64] of floats from 0.1 to 1, 0 and 1 for integers"


def test_what_is_given_is_not_varied() -> None:
    with pytest.raises(VerificationFailed, match=r"refused: too small.*; tried input \[1, 8, 8\] .* golden samples"):
        ask(ChoosyFleet(replicas=["a:1"]), signature(shape=("batch", "height", "width")), given={"input": (1, 8, 8)})


def test_attempts_that_would_be_too_large_are_left_out() -> None:
    described = signature(shape=("batch", "a", "b", "c"))

    sizes = {math.prod(a.shapes["input"]) for a in list_attempts(described, {}, 1, seed=1, subject=SUBJECT)}

    assert sizes == {1, 32**3, 64**3, 224**3}


@pytest.mark.parametrize("tag", ["1,3,640,640", "[1, 3, 640, 640]", '{"input": [1, 3, 640, 640]}'])
def test_a_tag_says_the_shape_to_ask_with(tag: str) -> None:
    described = signature(shape=("batch", 3, "height", "width"))

    found = read_given_shapes(described, {"slipway.input_shape": tag}, None, {}, SUBJECT)

    assert found == {"input": (1, 3, 640, 640)}


def test_what_the_release_is_given_comes_before_the_tag() -> None:
    described = signature(shape=("batch", "size"))
    tags = {"slipway.input_shape": "1,2"}

    assert read_given_shapes(described, tags, (1, 3), {}, SUBJECT) == {"input": (1, 3)}
    assert read_given_shapes(described, tags, (1, 3), {"input": (1, 4)}, SUBJECT) == {"input": (1, 4)}


@pytest.mark.parametrize(
    ("tag", "message"),
    [
        ("large", r"tag slipway.input_shape is 'large', expected sizes such as"),
        ("1,0", r"tag slipway.input_shape is '1,0', expected sizes"),
        ('{"image": [1, 4]}', r"input is input \['batch', 4\], expected to be asked with image \[1, 4\]"),
        ("1,5", r"expected to be asked with input \[1, 5\]; correct"),
    ],
)
def test_a_shape_that_is_not_the_models_is_refused(tag: str, message: str) -> None:
    with pytest.raises(InvalidInput, match=message):
        read_given_shapes(signature(), {"slipway.input_shape": tag}, None, {}, SUBJECT)
