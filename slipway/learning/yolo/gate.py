"""Gate 1 of a detector as a pure function of figures: more mAP50-95, and not slower, than the champion."""

import math

from pydantic import BaseModel, ConfigDict, computed_field

from slipway.learning.gate import ROUNDING
from slipway.learning.yolo.parameters import DetectorCriteria


class DetectorFigures(BaseModel):
    """What was measured of a detector: mAP50-95 on the test part, and milliseconds that one picture takes."""

    # A NaN is written as such: JSON has none, and what is read again is what was measured.
    model_config = ConfigDict(frozen=True, extra="forbid", ser_json_inf_nan="strings")

    map50_95: float
    milliseconds: float


class Condition(BaseModel):
    """One condition of the gate, in words, and whether it holds."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    text: str
    holds: bool

    @property
    def sentence(self) -> str:
        """The condition, and that it is met or not."""
        return f"{self.text} is {'met' if self.holds else 'not met'}"


class DetectorVerdict(BaseModel):
    """What gate 1 decided of a detector, and every figure it decided by."""

    # What is computed is written and, where a verdict is read again, computed again.
    model_config = ConfigDict(frozen=True, extra="ignore", protected_namespaces=())

    model_name: str
    run_id: str
    candidate: DetectorFigures
    champion_version: int | None
    champion: DetectorFigures | None
    conditions: tuple[Condition, ...]

    @computed_field  # type: ignore[prop-decorator]
    @property
    def passed(self) -> bool:
        """Whether all conditions hold."""
        return bool(self.conditions) and all(condition.holds for condition in self.conditions)

    @computed_field  # type: ignore[prop-decorator]
    @property
    def reason(self) -> str:
        """The verdict in one sentence, with each condition's figures."""
        decision = "passed" if self.passed else "rejected"
        said = "; ".join(condition.sentence for condition in self.conditions)
        alone = "; there is no champion yet" if self.champion is None else ""
        return f"model '{self.model_name}', trained by MLflow run {self.run_id}, {decision}: {said}{alone}"


def judge_detector(
    model_name: str,
    run_id: str,
    criteria: DetectorCriteria,
    *,
    candidate: DetectorFigures,
    champion_version: int | None,
    champion: DetectorFigures | None,
) -> DetectorVerdict:
    """Return the verdict: all conditions are always checked, and a NaN meets none."""
    conditions = [
        _demand_at_least("mAP50-95", candidate.map50_95, criteria.min_map, "as the least allowed"),
        _demand_at_most("milliseconds", candidate.milliseconds, criteria.max_milliseconds, "as the most allowed"),
    ]
    if champion is not None:
        who = f"of champion version {champion_version}"
        conditions += [
            _demand_at_least(
                "mAP50-95",
                candidate.map50_95,
                champion.map50_95 + criteria.min_map_improvement,
                f"({champion.map50_95:.4f} {who} + {criteria.min_map_improvement:g})",
            ),
            _demand_at_most(
                "milliseconds",
                candidate.milliseconds,
                champion.milliseconds * (1 + criteria.max_slowdown),
                f"({champion.milliseconds:.2f} {who} + {criteria.max_slowdown:.0%})",
            ),
        ]
    return DetectorVerdict(
        model_name=model_name,
        run_id=run_id,
        candidate=candidate,
        champion_version=champion_version,
        champion=champion,
        conditions=tuple(conditions),
    )


def _demand_at_least(name: str, value: float, limit: float, why: str) -> Condition:
    holds = math.isfinite(value) and math.isfinite(limit) and value - limit >= -ROUNDING
    return Condition(text=f"{name} {value:.4f} >= {limit:.4f} {why}", holds=holds)


def _demand_at_most(name: str, value: float, limit: float, why: str) -> Condition:
    holds = math.isfinite(value) and math.isfinite(limit) and value - limit <= ROUNDING
    return Condition(text=f"{name} {value:.2f} <= {limit:.2f} {why}", holds=holds)
