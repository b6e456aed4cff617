"""Answers are compared as they come: right ones agree, and whatever else comes is a failed proof, never a traceback."""

from collections.abc import Iterable, Iterator
from io import BytesIO

import numpy as np
import pytest

from blocks.errors import UnusableModel, VerificationFailed
from blocks.fleet import Answer, Tensors, TritonFleet
from slipway.formats.signature import Signature, TensorSpec
from slipway.releases.agreement_terms import AgreementKind, AgreementTerms
from slipway.releases.proof import Question
from slipway.releases.samples import (
    PROOF_BYTES,
    Exchange,
    Layout,
    Samples,
    join,
    keep_few,
    pack_exchanges,
    shorten,
    unpack_exchanges,
)

OUTPUTS = np.random.default_rng(1).standard_normal((20, 3)).astype(np.float32)
SAMPLES = Samples({"input": np.zeros((20, 4), np.float32)}, {"output": OUTPUTS}, {"output": OUTPUTS + np.float32(1e-6)})
MIB = 1024**2


def make_signature(inputs: tuple[int | str, ...], outputs: tuple[int | str, ...]) -> Signature:
    return Signature(
        inputs=(TensorSpec(name="input", dtype="FP32", shape=inputs),),
        outputs=(TensorSpec(name="output", dtype="FP32", shape=outputs),),
    )


BATCHED = make_signature(("batch", 4), ("batch", 3))


class ScriptedFleet(TritonFleet):
    """A fleet whose answers are given beforehand, eight samples each."""

    _block_type_name = "Scripted fleet"
    _block_type_slug = "scripted-fleet"

    script: list[tuple[int, list[list[float]]]]

    def answers(
        self, address: str, model_name: str, batches: Iterable[Tensors], outputs: list[str], version: int | None
    ) -> Iterator[Answer]:
        for _, (answered_by, values) in zip(batches, self.script, strict=True):
            yield Answer(answered_by, {name: np.array(values, np.float32) for name in outputs}, 1.0)


def asked(script: list[tuple[int, list[list[float]]]]) -> Question:
    return Question(ScriptedFleet(replicas=["a:1"], script=script), "a:1", "m", 2, batched=True)


def right(by: int = 2, plus: float = 0.0) -> list[tuple[int, list[list[float]]]]:
    return [(by, (OUTPUTS[start : start + 8] + np.float32(plus)).tolist()) for start in (0, 8, 16)]


def test_right_answers_agree_with_both_references() -> None:
    found = asked(right()).compare(SAMPLES.list_exchanges(BATCHED, batched=True), AgreementTerms())

    assert (found.samples, found.top1_agreement, found.max_difference) == (20, 1.0, 0.0)
    assert found.max_difference_onnxruntime is not None and 0 < found.max_difference_onnxruntime < 1e-5


@pytest.mark.parametrize(
    ("script", "message"),
    [
        (right(plus=0.1), r"output 'output' differs from the known answers by"),
        (right(plus=float("nan")), r"differs from the known answers by nan"),
        (right(by=1), r"answered by version 1, expected 2"),
        ([*right()[:2], (1, right()[2][1])], r"answered by version 1, expected 2"),
        ([(2, [[1.0, 2.0]])] * 3, r"output 'output' is \[1, 2\], expected \[8, 3\]"),
        ([(2, OUTPUTS.tolist())] * 3, r"output 'output' is \[20, 3\], expected \[8, 3\]"),
        ([*right()[:2], (2, OUTPUTS[16:18].tolist())], r"output 'output' is \[2, 3\], expected \[4, 3\]"),
    ],
)
def test_any_other_answer_is_a_failed_proof(script: list[tuple[int, list[list[float]]]], message: str) -> None:
    with pytest.raises(VerificationFailed, match=message):
        asked(script).compare(SAMPLES.list_exchanges(BATCHED, batched=True), AgreementTerms())


@pytest.mark.parametrize(
    ("signature", "inputs", "outputs", "layout"),
    [
        (BATCHED, (6, 4), (6, 3), Layout.ROWS),
        (make_signature((1, 4), (1, 3)), (6, 4), (6, 3), Layout.ROWS),
        (make_signature((1, 4), (1, 3)), (6, 1, 4), (6, 1, 3), Layout.REQUESTS),
        (make_signature(("seq", "batch", 4), ("seq", "batch", 4)), (2, 7, 3, 4), (2, 7, 3, 4), Layout.REQUESTS),
        (make_signature((), ()), (5,), (5,), Layout.REQUESTS),
        (make_signature(("n",), ("k", 2)), (5, 9), (5, 3, 2), Layout.REQUESTS),
        (BATCHED, (6, 5), (6, 3), None),
    ],
)
def test_what_the_first_axis_of_golden_samples_counts_is_told_by_the_models_axes(
    signature: Signature, inputs: tuple[int, ...], outputs: tuple[int, ...], layout: Layout | None
) -> None:
    samples = Samples({"input": np.zeros(inputs, np.float32)}, {"output": np.zeros(outputs, np.float32)})

    assert samples.find_layout(signature) is layout


@pytest.mark.parametrize(
    ("signature", "inputs", "outputs", "batched", "shapes"),
    [
        (BATCHED, (9, 4), (9, 3), True, [(8, 4), (1, 4)]),
        (BATCHED, (9, 4), (9, 3), False, [(9, 4)]),
        (make_signature((1, 4), (1, 3)), (3, 4), (3, 3), False, [(1, 4)] * 3),
        (make_signature((2, 4), (2, 3)), (3, 2, 4), (3, 2, 3), False, [(2, 4)] * 3),
    ],
)
def test_samples_become_requests_as_the_model_takes_them(
    signature: Signature,
    inputs: tuple[int, ...],
    outputs: tuple[int, ...],
    batched: bool,
    shapes: list[tuple[int, ...]],
) -> None:
    samples = Samples({"input": np.zeros(inputs, np.float32)}, {"output": np.zeros(outputs, np.float32)})

    exchanges = list(samples.list_exchanges(signature, batched))

    assert [exchange.inputs["input"].shape for exchange in exchanges] == shapes
    assert batched is False or sum(exchange.samples for exchange in exchanges) == samples.count


def test_requests_stay_small() -> None:
    samples = Samples({"input": np.ones((6, 5 * MIB), np.float32)}, {"output": np.ones((6, 3), np.float32)})
    signature = make_signature(("batch", 5 * MIB), ("batch", 3))

    assert [len(each.inputs["input"]) for each in samples.list_exchanges(signature, batched=True)] == [1] * 6


def test_the_answers_kept_as_proof_are_few_and_small() -> None:
    def answered(floats: int) -> Iterator[Exchange]:
        for _ in range(20):
            yield Exchange({"input": np.ones((1, floats), np.float32)}, {"output": np.ones((1, 1), np.float32)})

    counts = [len(keep_few(answered(floats))) for floats in (4, PROOF_BYTES // 12, 10 * PROOF_BYTES)]

    assert counts == [8, 2, 1]


def make_exchange(seed: int, rows: int = 1) -> Exchange:
    random = np.random.default_rng(seed)
    inputs = {"input": random.random((rows, 4), np.float32), "text": np.array([["ü", ""]] * rows, np.str_)}
    outputs = {"output": random.random((rows, 3), np.float32), "label": np.array([[b"caf\xc3\xa9"]] * rows, object)}
    return Exchange(inputs, outputs, samples=rows)


def test_what_is_recorded_is_read_as_it_was_texts_and_terms_included() -> None:
    terms = AgreementTerms(kind=AgreementKind.CLASSES, tolerance=0.02, reason="FP16 model").model_dump(mode="json")

    [first, second], read = unpack_exchanges(pack_exchanges([make_exchange(1), make_exchange(2, 3)], terms), "m", True)

    assert read == terms
    assert (first.samples, second.samples) == (1, 3)
    assert np.array_equal(second.outputs["output"], make_exchange(2, 3).outputs["output"])
    assert first.inputs["text"].tolist() == [["ü".encode(), b""]]
    assert first.outputs["label"].tolist() == [["café".encode()]]


def test_bytes_that_are_no_text_are_recorded_as_they_are() -> None:
    outputs = {"output": np.array([b"\xff\xfe", b"a"], object)}

    [exchange], _ = unpack_exchanges(pack_exchanges([Exchange({"input": OUTPUTS}, outputs)], {}), "m", False)

    assert exchange.outputs["output"].tolist() == [b"\xff\xfe", b"a"]


@pytest.mark.parametrize(("batched", "shapes"), [(True, [(1, 4), (5, 4)]), (False, [(4,)] * 6)])
def test_what_earlier_releases_recorded_is_read(batched: bool, shapes: list[tuple[int, ...]]) -> None:
    content = BytesIO()
    np.savez(content, **{"input/input": np.zeros((6, 4), np.float32), "output/output": OUTPUTS[:6]})  # type: ignore[arg-type]

    exchanges, terms = unpack_exchanges(content.getvalue(), "m", batched)

    assert [exchange.inputs["input"].shape for exchange in exchanges] == shapes
    assert terms == {}


@pytest.mark.parametrize("arrays", [{"terms": np.array("{}")}, {"terms": np.array("{"), "0/input/x": np.zeros(1)}])
def test_a_record_that_proves_nothing_is_refused(arrays: dict[str, np.ndarray]) -> None:
    content = BytesIO()
    np.savez(content, **arrays)  # type: ignore[arg-type]

    with pytest.raises(UnusableModel, match=r"m: .*; release the version again"):
        unpack_exchanges(content.getvalue(), "m", True)


def test_requests_are_joined_only_where_their_shapes_allow_it() -> None:
    same, other = make_exchange(2), Exchange({"input": np.zeros((1, 9))}, {"output": np.zeros((1, 3))})
    rows = Exchange({"input": np.zeros((2, 4))}, {"output": np.zeros((3, 3))})

    assert [each.samples for each in shorten([make_exchange(1), same, same], batched=True)] == [1, 2]
    assert len(shorten([make_exchange(1), same, same], batched=False)) == 3
    assert join([same, other]) is None and join([rows, rows]) is None
