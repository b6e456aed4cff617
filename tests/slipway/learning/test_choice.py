"""Which precision is registered, as a function of figures."""

from typing import Any

import pytest

from slipway.learning.choice import JudgedPrecision, PrecisionFigures, choose, judge_variant
from slipway.learning.gate import Criteria, Verdict, judge
from slipway.learning.served_precision import Precision


def figures(precision: Precision, ms: float = 1.0, **changed: Any) -> PrecisionFigures:
    given: dict[str, Any] = {
        "precision": precision,
        "images": 360,
        "accuracy": 0.95,
        "loss": 0.2,
        "max_diff": 0.01,
        "changed_classes": 0.0,
        "ms_per_image": ms,
        "size_bytes": 1000,
    }
    return PrecisionFigures(**given | changed)


def parents(champion: float | None = None, **changed: Any) -> Verdict:
    """The verdict on the PyTorch version, with an accuracy of 0.96."""
    criteria: dict[str, Any] = {
        "metric_name": "best_val_accuracy",
        "greater_is_better": True,
        "metric_threshold": 0.9,
        "min_improvement": 0.005,
    }
    return judge(
        "resnet18-digits",
        7,
        Criteria(**criteria | changed),
        candidate_value=0.96,
        champion_version=None if champion is None else 6,
        champion_value=champion,
    )


def judged(found: PrecisionFigures, parent: Verdict | None = None) -> JudgedPrecision:
    verdict = judge_variant(found, parent or parents()) if found.precision != "fp32" else None
    return JudgedPrecision(precision=found.precision, figures=found, verdict=verdict)


FULL = judged(figures("fp32", ms=2.0))
HALF = judged(figures("fp16", ms=2.5))
QUICK = judged(figures("int8", ms=1.0))
WRONG = judged(figures("int8", ms=1.0, accuracy=0.7))
UNMADE = JudgedPrecision(precision="int8", problem="ONNX Runtime cannot make it: no such operator")


def test_a_variant_is_asked_the_same_question_as_its_parent() -> None:
    parent = parents(champion=0.94)

    assert judge_variant(figures("int8", accuracy=0.945), parent).passed
    assert not judge_variant(figures("int8", accuracy=0.944), parent).passed, (
        "it has to beat the champion by 0.005, too"
    )
    assert not judge_variant(figures("int8", accuracy=0.89), parents()).passed, "the threshold is 0.9"


def test_a_variant_is_judged_by_its_loss_where_its_parent_was() -> None:
    parent = parents(metric_name="best_val_loss", greater_is_better=False, metric_threshold=0.25)

    assert judge_variant(figures("int8", loss=0.2), parent).passed
    assert not judge_variant(figures("int8", loss=0.3), parent).passed


def test_a_variant_that_answers_with_nan_passes_nothing() -> None:
    found = judged(figures("int8", accuracy=None, loss=None, max_diff=None))

    assert found.refusal is not None and "(missing or not a number)" in found.refusal


def test_the_fastest_that_passes_is_chosen_and_its_rivals_are_told() -> None:
    choice = choose("fastest", [FULL, HALF, QUICK])

    assert choice.precision == "int8"
    assert choice.reason == "int8 is the fastest that passes: fp32 2.00, fp16 2.50, int8 1.00 ms an image"


def test_a_faster_variant_that_is_refused_is_not_chosen_and_that_is_told() -> None:
    choice = choose("fastest", [FULL, HALF, WRONG])

    assert choice.precision == "fp32"
    assert "int8 1.00 (refused)" in choice.reason


def test_fp32_wins_where_no_variant_is_faster() -> None:
    assert choose("fastest", [FULL, HALF]).precision == "fp32"
    assert choose("fastest", [FULL, UNMADE]).precision == "fp32"


@pytest.mark.parametrize(("ms", "chosen"), [(1.96, "fp32"), (1.93, "int8")])
def test_what_is_faster_by_no_more_than_noise_is_not_worth_digits(ms: float, chosen: str) -> None:
    assert choose("fastest", [FULL, judged(figures("int8", ms=ms))]).precision == chosen


def test_a_variant_that_is_asked_for_is_chosen_however_slow_it_is() -> None:
    assert choose("fp16", [FULL, HALF, QUICK]).precision == "fp16"


@pytest.mark.parametrize(
    ("refused", "reason"),
    [
        (WRONG, "int8 was asked for and is refused, gate 1: best_val_accuracy 0.7000 >= 0.9 is not met"),
        (UNMADE, "int8 was asked for and is refused, ONNX Runtime cannot make it: no such operator"),
    ],
    ids=["wrong", "unmade"],
)
def test_nothing_is_chosen_where_what_is_asked_for_is_refused(refused: JudgedPrecision, reason: str) -> None:
    choice = choose("int8", [FULL, refused])

    assert choice.precision is None
    assert choice.reason.startswith(reason)


def test_fp32_is_registered_where_it_is_asked_for_whatever_becomes_of_its_variants() -> None:
    assert choose("fp32", [FULL, WRONG]).precision == "fp32"
