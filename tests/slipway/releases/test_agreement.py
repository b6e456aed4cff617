"""How answers agree: by value relative to the outputs' scale, by class, as probabilities; what cannot agree is said."""

import numpy as np
import pytest

from blocks.errors import VerificationFailed
from blocks.fleet import Tensors
from slipway.releases.agreement import Agreement, Comparison, make_agreements, shape_like
from slipway.releases.agreement_terms import AgreementKind, AgreementTerms

EXPECTED = np.array([[0.0, 8.0], [4.0, 0.0], [0.0, 2.0]], np.float32)
SUBJECT = "model 'm' version 1"
INF, NAN = np.inf, np.nan


def compare(
    observed: list[np.ndarray],
    expected: list[np.ndarray] | None = None,
    kind: AgreementKind = AgreementKind.NUMERIC,
    tolerance: float = 1e-4,
) -> Agreement:
    known = expected or [EXPECTED]
    [agreement] = make_agreements({"output": known[0]}, AgreementTerms(kind=kind, tolerance=tolerance))
    for found, right in zip(observed, known, strict=True):
        agreement.add({"output": found}, {"output": right})
    return agreement


def test_the_same_answers_agree_wholly_however_they_are_split() -> None:
    for split in ([EXPECTED], [EXPECTED[:2], EXPECTED[2:]], [row[None] for row in EXPECTED]):
        found = compare(split, split)

        assert (found.difference, found.top1) == (0.0, 1.0)
        found.check(SUBJECT)


def test_a_difference_is_relative_to_the_largest_value_expected() -> None:
    assert compare([EXPECTED + np.float32(0.8)]).difference == pytest.approx(0.1)


def test_where_nothing_but_zeros_is_expected_a_difference_is_absolute() -> None:
    zeros = np.zeros((2, 2), np.float32)

    assert compare([zeros + np.float32(0.5)], [zeros]).difference == 0.5


def test_another_class_counts_beyond_the_tolerance_only() -> None:
    tie, clear = np.array([[1.0, 1.0001]], np.float32), np.array([[0.0, 1.0]], np.float32)

    assert compare([tie[:, ::-1]], [tie], tolerance=1e-3).top1 == 1.0
    assert compare([clear[:, ::-1]], [clear], tolerance=1e-3).top1 == 0.0


def test_equal_maxima_are_one_class() -> None:
    saturated = np.ones((4, 6), np.float32)

    found = compare([saturated - np.float32(1e-7) * np.arange(6, dtype=np.float32)], [saturated])

    found.check(SUBJECT)
    assert found.top1 == 1.0


@pytest.mark.parametrize("value", [NAN, INF, -INF])
def test_a_value_that_is_no_number_passes_no_tolerance(value: float) -> None:
    with pytest.raises(VerificationFailed, match="differs from the known answers"):
        compare([np.full((3, 2), value, np.float32)], tolerance=1.0).check(SUBJECT)


@pytest.mark.parametrize("value", [NAN, INF, -INF])
def test_a_value_that_is_known_to_be_no_number_agrees_with_itself(value: float) -> None:
    masked = np.where(EXPECTED == 0, np.float32(value), EXPECTED)

    found = compare([masked], [masked])

    found.check(SUBJECT)
    assert found.difference == 0.0
    with pytest.raises(VerificationFailed):
        compare([EXPECTED], [masked], tolerance=1.0).check(SUBJECT)


def test_one_value_that_is_no_number_is_not_forgotten_by_those_that_follow() -> None:
    with pytest.raises(VerificationFailed, match="by nan"):
        compare([np.full((1, 2), NAN, np.float32), EXPECTED], [EXPECTED[:1], EXPECTED], tolerance=1.0).check(SUBJECT)


def test_a_difference_at_the_tolerance_passes_and_one_above_it_does_not() -> None:
    observed = [EXPECTED + np.float32(2.0)]

    compare(observed, tolerance=0.25).check(SUBJECT)
    with pytest.raises(VerificationFailed, match=r"by 2\.5e-01 of their scale, 2e-01 is allowed"):
        compare(observed, tolerance=0.2).check(SUBJECT)


def test_texts_agree_where_they_are_equal() -> None:
    texts = np.array([[b"cat"], [b"dog"]], np.object_)

    assert compare([texts], [texts]).difference == 0.0
    assert compare([texts[::-1]], [texts]).difference == INF


def test_integers_agree_where_they_are_equal() -> None:
    labels = np.array([3, 1, 2], np.int64)

    compare([labels], [labels]).check(SUBJECT)
    with pytest.raises(VerificationFailed):
        compare([labels[::-1]], [labels]).check(SUBJECT)


def test_classes_agree_whatever_their_scores_are() -> None:
    scores = np.array([[0.1, 0.9], [0.8, 0.2]], np.float32)

    compare([scores * np.float32(1.1)], [scores], AgreementKind.CLASSES).check(SUBJECT)
    with pytest.raises(VerificationFailed, match=r"gives 50.0% of the rows the known class"):
        compare([np.stack([scores[0], scores[1][::-1]])], [scores], AgreementKind.CLASSES).check(SUBJECT)


def test_a_wrong_label_is_another_class() -> None:
    labels = np.array([3, 1, 2], np.int64)

    compare([labels], [labels], AgreementKind.CLASSES).check(SUBJECT)
    with pytest.raises(VerificationFailed):
        compare([labels + 1], [labels], AgreementKind.CLASSES).check(SUBJECT)


def test_probabilities_have_to_be_some() -> None:
    right, logits = np.array([[0.25, 0.75]], np.float32), np.array([[2.0, 3.0]], np.float32)

    compare([right], [right], AgreementKind.PROBABILITIES).check(SUBJECT)
    with pytest.raises(VerificationFailed, match=r"row of sum 5, expected probabilities"):
        compare([logits], [logits], AgreementKind.PROBABILITIES).check(SUBJECT)


@pytest.mark.parametrize("shape", [(3, 2), (1, 3, 2)])
def test_answers_of_another_shape_are_refused(shape: tuple[int, ...]) -> None:
    with pytest.raises(VerificationFailed, match=r"output 'output' is \[.*\], expected \[2, 3\]"):
        shape_like({"output": np.zeros(shape, np.float32)}, {"output": np.zeros((2, 3), np.float32)}, SUBJECT)


def test_an_answer_in_the_shape_triton_serves_is_one_in_the_models() -> None:
    known: Tensors = {"label": np.zeros(3, np.int64), "score": np.zeros((), np.float32)}
    served: Tensors = {"label": np.zeros((3, 1), np.int64), "score": np.zeros(1, np.float32)}

    shaped = shape_like(served, known, SUBJECT)

    assert {name: array.shape for name, array in shaped.items()} == {"label": (3,), "score": ()}


BOXES = np.array([[[0, 0, 10, 10], [20, 20, 40, 40], [5, 5, 6, 6]]], np.float32)
SCORES = np.array([[0.9, 0.8, 0.01]], np.float32)
CLASSES = np.array([[1, 2, 3]], np.int64)


def detect(boxes: np.ndarray, scores: np.ndarray, classes: np.ndarray) -> Agreement:
    known: Tensors = {"boxes": BOXES, "scores": SCORES, "classes": CLASSES}
    [agreement] = make_agreements(known, AgreementTerms(kind=AgreementKind.DETECTIONS))
    agreement.add({"boxes": boxes, "scores": scores, "classes": classes}, known)
    return agreement


def test_detections_agree_in_any_order_and_without_those_that_score_near_nothing() -> None:
    for order in ([0, 1, 2], [1, 0, 2], [1, 0]):
        detect(BOXES[:, order] + np.float32(0.01), SCORES[:, order], CLASSES[:, order]).check(SUBJECT)


@pytest.mark.parametrize(
    ("boxes", "scores", "classes"),
    [
        (BOXES[:, :1], SCORES[:, :1], CLASSES[:, :1]),  # one is missing
        (BOXES + np.float32(3), SCORES, CLASSES),  # elsewhere
        (BOXES, SCORES, CLASSES[:, ::-1]),  # of other classes
        (BOXES, SCORES - np.float32(0.2), CLASSES),  # less sure
        (BOXES[:, [0, 1, 1]], SCORES[:, [0, 1, 1]], CLASSES[:, [0, 1, 1]]),  # twice
    ],
)
def test_other_detections_do_not_agree(boxes: np.ndarray, scores: np.ndarray, classes: np.ndarray) -> None:
    with pytest.raises(VerificationFailed, match=r"objects have no match"):
        detect(boxes, scores, classes).check(SUBJECT)


def test_no_detections_agree_with_none() -> None:
    known: Tensors = {"boxes": np.zeros((0, 4), np.float32), "scores": np.zeros(0, np.float32)}
    [agreement] = make_agreements(known, AgreementTerms(kind=AgreementKind.DETECTIONS))

    agreement.add(known, known)

    agreement.check(SUBJECT)


def test_detections_in_one_output_agree_alike() -> None:
    rows = np.concatenate([BOXES, SCORES[..., None], CLASSES[..., None].astype(np.float32)], axis=-1)
    terms = AgreementTerms(kind=AgreementKind.DETECTIONS)
    [agreement] = make_agreements({"output0": rows}, terms)

    agreement.add({"output0": rows[:, ::-1]}, {"output0": rows})

    agreement.check(SUBJECT)


def test_outputs_that_are_no_detections_are_said_to_be_none() -> None:
    with pytest.raises(VerificationFailed, match=r"are no detections, expected boxes"):
        make_agreements({"logits": EXPECTED}, AgreementTerms(kind=AgreementKind.DETECTIONS))


def test_what_an_earlier_receipt_says_is_read() -> None:
    found = Comparison.model_validate({"samples": 6, "top1_agreement": 1.0, "max_difference": 0.0, "else": 1})

    assert found.max_difference_onnxruntime is None
