"""Gate 1 of a detector on paper: more mAP50-95, and not slower."""

import math

import pytest

from slipway.learning.yolo.gate import DetectorFigures, DetectorVerdict, judge_detector
from slipway.learning.yolo.parameters import DetectorCriteria

CRITERIA = DetectorCriteria(min_map=0.4, min_map_improvement=0.01, max_milliseconds=50, max_slowdown=0.1)


def verdict(candidate: tuple[float, float], champion: tuple[float, float] | None = None) -> DetectorVerdict:
    return judge_detector(
        "detector",
        "0" * 32,
        CRITERIA,
        candidate=DetectorFigures(map50_95=candidate[0], milliseconds=candidate[1]),
        champion_version=3 if champion else None,
        champion=DetectorFigures(map50_95=champion[0], milliseconds=champion[1]) if champion else None,
    )


@pytest.mark.parametrize(
    ("candidate", "champion", "passes"),
    [
        ((0.40, 50.0), None, True),  # both at their limits
        ((0.39, 10.0), None, False),  # finds too little
        ((0.90, 50.1), None, False),  # too slow
        ((0.51, 20.0), (0.50, 20.0), True),  # the least improvement
        ((0.505, 1.0), (0.50, 20.0), False),  # faster is no excuse
        ((0.60, 22.0), (0.50, 20.0), True),  # as much slower as it may be
        ((0.60, 22.1), (0.50, 20.0), False),  # better is no excuse
        ((0.39, 10.0), (0.10, 20.0), False),  # better than a poor champion
        ((math.nan, 10.0), None, False),
        ((0.60, math.nan), None, False),
        ((0.60, 10.0), (math.nan, 20.0), False),  # nothing shows that it is better
    ],
)
def test_a_candidate_passes_where_it_finds_enough_and_is_fast_enough(
    candidate: tuple[float, float], champion: tuple[float, float] | None, passes: bool
) -> None:
    assert verdict(candidate, champion).passed is passes


def test_the_reason_has_every_figure() -> None:
    reason = verdict((0.60, 25.0), (0.50, 20.0)).reason

    assert "rejected: mAP50-95 0.6000 >= 0.4000 as the least allowed is met" in reason
    assert "mAP50-95 0.6000 >= 0.5100 (0.5000 of champion version 3 + 0.01) is met" in reason
    assert "milliseconds 25.00 <= 22.00 (20.00 of champion version 3 + 10%) is not met" in reason


def test_a_first_candidate_is_told_that_there_is_no_champion() -> None:
    assert verdict((0.6, 10.0)).reason.endswith("; there is no champion yet")


@pytest.mark.parametrize("figures", [(0.6, 10.0), (math.nan, 10.0)])
def test_a_verdict_is_read_again_as_it_was_written(figures: tuple[float, float]) -> None:
    written = verdict(figures, (0.5, 20.0))

    read = DetectorVerdict.model_validate_json(written.model_dump_json())

    assert (read.passed, read.reason) == (written.passed, written.reason)
