"""Which precision of an export is registered: decided by figures alone."""

from collections.abc import Sequence

from pydantic import BaseModel, ConfigDict, Field

from blocks.labels import BEST_ACCURACY
from slipway.learning.gate import Criteria, Verdict, judge
from slipway.learning.served_precision import FASTEST, PRECISIONS, Precision

LEVEL = 0.03  # within which two speeds are one: then the more exact precision is the better one


class PrecisionFigures(BaseModel):
    """What one precision of an export does over the whole validation set, beside FP32."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    precision: Precision
    images: int
    accuracy: float | None = Field(description="None, as loss and difference, where an answer is no finite number.")
    loss: float | None
    max_diff: float | None = Field(description="Largest difference of a logit from FP32's, relative to the largest.")
    changed_classes: float = Field(description="Share of the images that get another class than by FP32.")
    ms_per_image: float = Field(description="Median over rounds in which all precisions took turns.")
    size_bytes: int


class JudgedPrecision(BaseModel):
    """One precision with its figures, or the reason why there are none, and what the gates say of it."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    precision: Precision
    figures: PrecisionFigures | None = None
    verdict: Verdict | None = Field(default=None, description="Gate 1's of a variant, of FP32 none: PyTorch has it.")
    problem: str | None = Field(default=None, description="What makes it unusable, whatever its figures.")

    @property
    def refusal(self) -> str | None:
        """Why it may not be released, None where it may."""
        if self.problem is not None or self.verdict is None:
            return self.problem
        return None if self.verdict.passed else f"gate 1: {self.verdict.findings}"


class Choice(BaseModel):
    """What is registered, with its reason; where no precision is, what was asked for is refused."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    precision: Precision | None
    reason: str


def judge_variant(figures: PrecisionFigures, parent: Verdict) -> Verdict:
    """Return gate 1's verdict on a variant: the very question that its PyTorch parent was asked, with its figures."""
    value = figures.accuracy if parent.metric_name == BEST_ACCURACY else figures.loss
    return judge(
        parent.model_name,
        parent.version,
        Criteria(**parent.model_dump(include=set(Criteria.model_fields))),
        candidate_value=value,
        champion_version=parent.champion_version,
        champion_value=parent.champion_value,
    )


def choose(asked: str, judged: Sequence[JudgedPrecision]) -> Choice:
    """Return which of the judged precisions, FP32 among them, is registered.

    The fastest is chosen among those that pass; within 3 % of each other the more exact one is the better one.
    """
    if asked == FASTEST:
        return _choose_fastest(judged)
    [found] = [each for each in judged if each.precision == asked]
    if found.refusal is not None:
        return Choice(precision=None, reason=f"{asked} was asked for and is refused, {found.refusal}")
    return Choice(precision=found.precision, reason=f"{asked} was asked for{_describe_speeds(judged)}")


def _choose_fastest(judged: Sequence[JudgedPrecision]) -> Choice:
    passed = [each.figures for each in judged if each.refusal is None and each.figures is not None]
    limit = min(figures.ms_per_image for figures in passed) * (1 + LEVEL)
    level = {figures.precision for figures in passed if figures.ms_per_image <= limit}
    best = min(level, key=PRECISIONS.index)
    return Choice(precision=best, reason=f"{best} is the fastest that passes{_describe_speeds(judged)}")


def _describe_speeds(judged: Sequence[JudgedPrecision]) -> str:
    """Return milliseconds an image of each precision, and which of them are refused."""
    told = [
        f"{each.precision} {each.figures.ms_per_image:.2f}{' (refused)' if each.refusal else ''}"
        for each in judged
        if each.figures is not None
    ]
    without = [f"{each.precision} refused" for each in judged if each.figures is None]
    return f": {', '.join(told)} ms an image{''.join(f', {text}' for text in without)}" if told else ""
