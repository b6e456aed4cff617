"""Synthetic requests are made one at a time, the same each time, and none is larger than may be sent."""

import tracemalloc
from collections.abc import Iterable, Iterator
from typing import ClassVar

import numpy as np
import pytest

from blocks.errors import InvalidInput, VerificationFailed
from blocks.fleet import Answer, Tensors, TritonFleet
from slipway.formats.signature import Signature, TensorSpec
from slipway.releases.proof import Question
from slipway.releases.samples import PROOF_BYTES, Samples, count_bytes, keep_few
from slipway.releases.synthetic import HELD_BYTES, MAX_REQUEST_BYTES, check_answers, make_requests

SUBJECT = "model 'm' version 1"
MIB = 1024**2


def signature(dtype: str = "FP32", shape: tuple[int | str, ...] = ("batch", 4)) -> Signature:
    output = TensorSpec(name="output", dtype="FP32", shape=("batch", 3))
    return Signature(inputs=(TensorSpec(name="input", dtype=dtype, shape=shape),), outputs=(output,), opset=20)


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
    requests = make_requests(signature(dtype, ("batch", 64)), None, 3, seed=7, subject=SUBJECT)

    values = [request["input"] for request in requests]

    assert [array.shape for array in values] == [(1, 64)] * 3
    assert all(np.array_equal(first, second["input"]) for first, second in zip(values, requests, strict=True))
    assert dtype == "BYTES" or not np.array_equal(values[0], values[1])
    assert all(array.dtype.kind == "O" or array.nbytes == requests.request_bytes for array in values)


def test_another_seed_makes_other_requests() -> None:
    first, second = (make_requests(signature(), None, 1, seed=seed, subject=SUBJECT)[0]["input"] for seed in (1, 2))

    assert not np.array_equal(first, second)


def test_only_one_request_is_in_memory_however_many_are_asked() -> None:
    large = signature(shape=("batch", 3, 1024, 1024))
    requests = make_requests(large, None, 20, seed=1, subject=SUBJECT)
    question = Question(EchoingFleet(replicas=["a:1"]), "a:1", "m", 1, True)

    tracemalloc.start()
    answered = [answer.elapsed_ms for _, answer in check_answers(question, large, requests, None)]
    _, peak_bytes = tracemalloc.get_traced_memory()
    tracemalloc.stop()

    assert len(answered) == 20
    assert peak_bytes < 3 * requests.request_bytes


def test_what_is_kept_for_measurements_is_bounded() -> None:
    small = make_requests(signature(), None, 20, seed=1, subject=SUBJECT).hold()
    large = make_requests(signature(shape=("batch", 3, 2160, 3840)), None, 20, seed=1, subject=SUBJECT).hold()

    assert (len(small), len(large)) == (20, 1)
    assert sum(
        map(count_bytes, make_requests(signature(shape=("batch", 2 * MIB)), None, 20, seed=1, subject=SUBJECT).hold())
    ) <= (HELD_BYTES)


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
        (("batch", 3), np.ones((1, 3), np.float64), r"is float64 \[1, 3\], expected float32"),
        (("batch", 3), np.ones((1, 4), np.float32), r"is float32 \[1, 4\]"),
        (("batch", 3), np.array([[1, np.inf, 0]], np.float32), r"holds NaN or infinity"),
    ],
)
def test_an_answer_of_any_shape_is_looked_at(
    shape: tuple[int | str, ...], output: np.ndarray, message: str | None, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(FixedFleet, "output", np.asarray(output), raising=False)
    fleet = FixedFleet(replicas=["a:1"])
    described = signature()
    described = described.model_copy(update={"outputs": (TensorSpec(name="output", dtype="FP32", shape=shape),)})
    requests = make_requests(described, None, 2, seed=1, subject=SUBJECT)
    answers = check_answers(Question(fleet, "a:1", "m", 1, True), described, requests, None)

    if message is None:
        assert len(list(answers)) == 2
    else:
        with pytest.raises(VerificationFailed, match=message):
            list(answers)


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
    with pytest.raises(InvalidInput, match=r"one request \(input FP32 \[.*\]\) has \d+ MiB, 512 MiB are allowed"):
        make_requests(signature(shape=shape), given, 20, seed=1, subject=SUBJECT)


def test_the_samples_kept_as_proof_are_few_and_small() -> None:
    def answered(floats: int) -> Iterator[tuple[Tensors, Tensors]]:
        for _ in range(20):
            yield {"input": np.ones((1, floats), np.float32)}, {"output": np.ones((1, 1), np.float32)}

    counts = [keep_few(answered(floats), batched=True).count for floats in (4, PROOF_BYTES // 12, 10 * PROOF_BYTES)]

    assert counts == [8, 2, 1]


def test_golden_samples_are_asked_for_in_requests_that_stay_small() -> None:
    samples = Samples({"input": np.ones((6, 5 * MIB), np.float32)}, {"output": np.ones((6, 3), np.float32)})

    assert [len(request["input"]) for request in samples.requests(batched=True)] == [1] * 6
    assert [len(request["input"]) for request in samples.first(6).requests(batched=False)] == [5 * MIB] * 6
