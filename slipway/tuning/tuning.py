"""What a tuning found: its trials, the comparison at the end, and what became of it."""

from typing import Any

from pydantic import BaseModel, ConfigDict, Field

from slipway.tuning.ground import Ground
from slipway.tuning.knobs import KNOBS, Knobs
from slipway.tuning.search import Verdict, find_challenger, judge
from slipway.tuning.trial import Trial


class Tuning(BaseModel):
    """What a tuning found."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    ground: Ground
    latency_ms: float
    trials: tuple[Trial, ...] = Field(description="In the order in which they were made, the first as it is served.")
    rounds: tuple[tuple[Trial, Trial], ...] = Field(
        default=(), description="What is served beside the challenger, again."
    )
    run_id: str | None = Field(default=None, description="The MLflow run with the table and the picture.")
    kept: bool = Field(default=False, description="Whether the settings of the model say it now.")

    @property
    def start(self) -> Trial:
        """As it is served."""
        return self.trials[0]

    @property
    def challenger(self) -> Trial | None:
        """The best beside it, where one came near it."""
        return find_challenger(self.trials, self.latency_ms)

    @property
    def verdict(self) -> Verdict:
        """Whether the challenger is better than what is served, by how much, and in words."""
        if self.rounds:
            return judge(self.rounds, self.latency_ms)
        alone = judge([(self.start, self.start)], self.latency_ms)
        told = "nothing came near how it is served" if alone.keeps_limit else alone.reason
        return Verdict(None, alone.keeps_limit, False, told)

    @property
    def best(self) -> Trial:
        """What is better: the challenger, or how it is served."""
        return self.challenger if self.challenger is not None and self.verdict.is_better else self.start

    @property
    def changes(self) -> dict[str, int]:
        """The knobs that the best has otherwise, with their values."""
        return list_changes(self.ground.start, self.best.knobs)

    @property
    def rows(self) -> list[dict[str, Any]]:
        """A table with one row a trial, and those of the comparison."""
        rows = [_make_row(f"{number}", trial, self) for number, trial in enumerate(self.trials)]
        for number, (served, other) in enumerate(self.rounds, 1):
            rows += [_make_row(f"round {number}, served", served, self), _make_row(f"round {number}", other, self)]
        return rows


def list_changes(start: Knobs, knobs: Knobs) -> dict[str, int]:
    """Return what of the knobs is other than at the start."""
    before = start.model_dump()
    return {name: value for name, value in knobs.model_dump().items() if value != before[name]}


def _make_row(number: str, trial: Trial, tuning: Tuning) -> dict[str, Any]:
    """Return one trial for people: the best point within the limit, else the fastest."""
    point = trial.find_best(tuning.latency_ms) or min(trial.points, key=lambda point: point.p99_ms, default=None)
    knobs = trial.knobs.model_dump()
    row: dict[str, Any] = {"trial": number, **{name: "-" if knobs[name] is None else knobs[name] for name in KNOBS}}
    row |= {"clients": point.clients if point else "-", "per second": round(point.per_second, 1) if point else "-"}
    row |= {"p50 ms": round(point.p50_ms, 1) if point else "-", "p99 ms": round(point.p99_ms, 1) if point else "-"}
    kept = trial.find_best(tuning.latency_ms) is not None
    note = trial.refusal or ("" if kept else "over the limit")
    return row | {"": "best" if not note and trial == tuning.best else note}
