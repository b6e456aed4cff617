"""What a trial found: one way to serve a model, asked by more and more clients."""

from collections.abc import Iterable, Sequence

from pydantic import BaseModel, ConfigDict, Field

from slipway.tuning.knobs import Knobs

NOISE = 0.03  # within which two throughputs are one


class Point(BaseModel):
    """What so many clients saw, each asking again as it had its answer."""

    model_config = ConfigDict(frozen=True, extra="ignore")

    clients: int
    requests: int
    per_second: float = Field(description="Requests answered in a second.")
    p50_ms: float
    p99_ms: float
    load_cpu: float = Field(default=0.0, description="Cores that the process with the clients took.")


class Trial(BaseModel):
    """One way to serve a model, and what was measured of it."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    knobs: Knobs
    points: tuple[Point, ...] = ()
    refusal: str = Field(default="", description="Why it cannot be served so; empty where it can.")

    def find_best(self, latency_ms: float) -> Point | None:
        """Return the point with the highest throughput within the limit, None where there is none, or it is refused."""
        return (
            None
            if self.refusal
            else max(list_within(self.points, latency_ms), key=lambda point: point.per_second, default=None)
        )

    def get_throughput(self, latency_ms: float) -> float:
        """Return the highest throughput within the limit, 0 where the limit is never kept."""
        best = self.find_best(latency_ms)
        return best.per_second if best else 0.0

    @property
    def fastest_p99_ms(self) -> float:
        """The shortest p99 that was seen, without end where it is refused."""
        return min((point.p99_ms for point in self.points if not self.refusal), default=float("inf"))


def list_within(points: Iterable[Point], latency_ms: float) -> list[Point]:
    """Return the points that keep the limit."""
    return [point for point in points if point.p99_ms <= latency_ms]


def choose(trials: Sequence[Trial], latency_ms: float) -> Trial:
    """Return the best trial: the highest throughput within the limit, of those that are as high the cheapest.

    Where none keeps the limit it is the one that came nearest.
    """
    highest = max(trial.get_throughput(latency_ms) for trial in trials)
    if highest == 0:
        return min(trials, key=lambda trial: trial.fastest_p99_ms)
    level = [trial for trial in trials if trial.get_throughput(latency_ms) >= highest * (1 - NOISE)]
    return min(level, key=lambda trial: trial.knobs.cost)
