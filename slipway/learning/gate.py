"""Gate 1 as a pure function of figures: does a candidate deserve to become champion?"""

import math

from pydantic import BaseModel, ConfigDict, computed_field

from blocks.errors import InvalidInput
from blocks.labels import BEST_ACCURACY, BEST_LOSS
from slipway.learning.parameters import GreaterIsBetter, MetricName, MetricThreshold, MinImprovement

# Decimal figures such as 0.905 - 0.9 are not exact in binary: a figure this close to its limit reaches it.
ROUNDING = 1e-9
MEASURED_AGAIN = (BEST_ACCURACY, BEST_LOSS)  # what a network can be asked for at any time


class Criteria(BaseModel):
    """What gate 1 judges by; where lower is better, the threshold is the most the metric may be."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    metric_name: MetricName
    greater_is_better: GreaterIsBetter
    metric_threshold: MetricThreshold
    min_improvement: MinImprovement


class Verdict(BaseModel):
    """What gate 1 decided, and every figure it decided by; None where there is no usable figure."""

    # What is computed is written and, where a verdict is read again, computed again.
    model_config = ConfigDict(frozen=True, extra="ignore", protected_namespaces=())

    model_name: str
    version: int
    metric_name: str
    greater_is_better: bool
    candidate_value: float | None
    metric_threshold: float
    reaches_threshold: bool
    champion_version: int | None
    champion_value: float | None
    improvement: float | None
    min_improvement: float
    improves_enough: bool
    already_champion: bool = False

    @computed_field  # type: ignore[prop-decorator]
    @property
    def passed(self) -> bool:
        """Whether both conditions hold."""
        return self.reaches_threshold and self.improves_enough

    @computed_field  # type: ignore[prop-decorator]
    @property
    def reason(self) -> str:
        """The verdict in one sentence, with both conditions' figures."""
        decision = "promoted" if self.passed else "rejected"
        if self.already_champion:
            decision = "is champion already" if self.passed else "is champion, yet would be rejected now"
        return f"model '{self.model_name}' version {self.version} {decision}: {self.findings}"

    @property
    def findings(self) -> str:
        """Both conditions with their figures."""
        return f"{self._say_threshold()}; {self._say_improvement()}"

    def _say_threshold(self) -> str:
        relation = ">=" if self.greater_is_better else "<="
        met = "met" if self.reaches_threshold else "not met"
        return f"{self.metric_name} {_format(self.candidate_value)} {relation} {self.metric_threshold:g} is {met}"

    def _say_improvement(self) -> str:
        if self.champion_version is None:
            return "there is no champion yet"
        if self.already_champion:
            return "nothing to improve on"
        met = "met" if self.improves_enough else "not met"
        return (
            f"improvement {_format(self.improvement, sign=True)} on champion version {self.champion_version} "
            f"({_format(self.champion_value)}) >= {self.min_improvement:g} is {met}"
        )


def judge(
    model_name: str,
    version: int,
    criteria: Criteria,
    *,
    candidate_value: float | None,
    champion_version: int | None,
    champion_value: float | None,
) -> Verdict:
    """Return the verdict; both conditions are always checked, and a missing or NaN figure meets neither.

    `champion_version` None says that there is no champion yet. Where lower is better, an improvement is a decrease.
    """
    sign = 1 if criteria.greater_is_better else -1
    candidate, champion = _take_finite(candidate_value), _take_finite(champion_value)
    improvement = None if candidate is None or champion is None else sign * (candidate - champion)
    already_champion = champion_version == version
    return Verdict(
        model_name=model_name,
        version=version,
        **criteria.model_dump(),
        candidate_value=candidate,
        reaches_threshold=candidate is not None and sign * (candidate - criteria.metric_threshold) >= -ROUNDING,
        champion_version=champion_version,
        champion_value=champion,
        improvement=improvement,
        improves_enough=(champion_version is None and candidate is not None)
        or already_champion
        or (improvement is not None and improvement >= criteria.min_improvement - ROUNDING),
        already_champion=already_champion,
    )


def require_measurable(metric_name: str, subject: str) -> None:
    """Raise `InvalidInput` where a metric is one that only a training can tell."""
    if metric_name not in MEASURED_AGAIN:
        raise InvalidInput(
            f"metric '{metric_name}': {subject}, and only {' and '.join(MEASURED_AGAIN)} can be measured again; judge "
            "by one of them"
        )


def _take_finite(value: float | None) -> float | None:
    return value if value is not None and math.isfinite(value) else None


def _format(value: float | None, sign: bool = False) -> str:
    if value is None:
        return "(missing or not a number)"
    return f"{value:+.4f}" if sign else f"{value:.4f}"
