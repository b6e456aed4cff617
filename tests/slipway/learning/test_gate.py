"""Gate 1 as a function of figures."""

import math
from typing import Any

import pytest

from slipway.learning.gate import Criteria, Verdict, judge


def judged(candidate: float | None, champion: float | None = None, **changed: Any) -> Verdict:
    figures: dict[str, Any] = {
        "metric_name": "best_val_accuracy",
        "greater_is_better": True,
        "metric_threshold": 0.90,
        "min_improvement": 0.005,
    }
    champion_version = changed.pop("champion_version", None if champion is None else 6)
    return judge(
        "resnet18-digits",
        7,
        Criteria(**figures | changed),
        candidate_value=candidate,
        champion_version=champion_version,
        champion_value=champion,
    )


@pytest.mark.parametrize(("accuracy", "passes"), [(0.9, True), (0.95, True), (0.8999, False), (0.0, False)])
def test_the_first_candidate_passes_if_it_reaches_the_threshold(accuracy: float, passes: bool) -> None:
    assert judged(accuracy).passed is passes


@pytest.mark.parametrize(
    ("candidate", "champion", "passes"),
    [(0.955, 0.95, True), (0.905, 0.9, True), (0.9549, 0.95, False), (0.95, 0.95, False), (0.94, 0.95, False)],
)
def test_a_later_candidate_has_to_beat_the_champion_by_half_a_percent(
    candidate: float, champion: float, passes: bool
) -> None:
    assert judged(candidate, champion).passed is passes


def test_an_improvement_of_exactly_the_minimum_passes_at_every_accuracy_of_a_thousand_images() -> None:
    accuracies = [right / 1000 for right in range(900, 995)]

    assert all(judged((1000 * champion + 5) / 1000, champion).passed for champion in accuracies)
    assert not any(judged((1000 * champion + 4) / 1000, champion).passed for champion in accuracies)


def test_the_threshold_still_counts_once_there_is_a_champion() -> None:
    verdict = judged(0.80, champion=0.50)

    assert not verdict.passed
    assert verdict.improves_enough and not verdict.reaches_threshold


@pytest.mark.parametrize("missing", [None, math.nan, math.inf, -math.inf])
@pytest.mark.parametrize("greater_is_better", [True, False])
def test_a_candidate_without_a_usable_figure_fails_both_conditions(
    missing: float | None, greater_is_better: bool
) -> None:
    verdict = judged(missing, greater_is_better=greater_is_better)

    assert not verdict.passed
    assert not verdict.reaches_threshold and not verdict.improves_enough


@pytest.mark.parametrize("missing", [None, math.nan])
def test_a_champion_without_a_usable_figure_keeps_its_place(missing: float | None) -> None:
    assert not judged(0.99, missing, champion_version=6).passed


@pytest.mark.parametrize(
    ("candidate", "champion", "passes"),
    [(0.20, None, True), (0.25, None, True), (0.26, None, False), (0.195, 0.2, True), (0.199, 0.2, False)],
)
def test_a_metric_where_lower_is_better_is_judged_the_other_way_round(
    candidate: float, champion: float | None, passes: bool
) -> None:
    verdict = judged(candidate, champion, metric_name="best_val_loss", greater_is_better=False, metric_threshold=0.25)

    assert verdict.passed is passes


def test_a_candidate_that_is_champion_already_passes_again_and_says_so() -> None:
    verdict = judged(0.95, 0.95, champion_version=7)

    assert verdict.passed and verdict.already_champion
    assert "is champion already" in verdict.reason


def test_a_refusal_names_both_conditions_with_their_figures() -> None:
    reason = judged(0.8725, 0.95).reason

    assert "0.8725 >= 0.9 is not met" in reason
    assert "improvement -0.0775 on champion version 6 (0.9500) >= 0.005 is not met" in reason


def test_a_verdict_without_figures_survives_json() -> None:
    verdict = judged(math.nan, 0.95)

    assert Verdict.model_validate_json(verdict.model_dump_json()) == verdict
