"""The picture of a tuning: throughput over p99, a line for each way to serve the model."""

from matplotlib.axes import Axes
from matplotlib.figure import Figure

from slipway.tuning.trial import Trial
from slipway.tuning.tuning import Tuning

INK, MUTED, GRID = "#1f2933", "#6b7785", "#e4e8ec"
GREY, BLUE, ORANGE, RED = "#c3cad2", "#2563c9", "#e07a1f", "#c93030"


def draw(tuning: Tuning) -> Figure:
    """Return it: what is served and the best in colour, all others in grey, the limit as a line."""
    figure = Figure(figsize=(9, 5.4), layout="constrained")
    axes = figure.subplots()
    others = [trial for trial in tuning.trials if trial not in (tuning.start, tuning.best)]
    for trial in others:
        _plot(axes, trial, GREY, "")
    _plot(axes, tuning.start, ORANGE, f"as it is served: {tuning.start.knobs.describe()}")
    if tuning.best != tuning.start:
        _plot(axes, tuning.best, BLUE, f"best: {tuning.best.knobs.describe()}")
    axes.axvline(tuning.latency_ms, color=RED, linewidth=1, linestyle=":", label=f"limit, {tuning.latency_ms:g} ms")
    axes.set_xscale("log")
    axes.set_ylim(bottom=0)
    axes.set_xlabel("p99, ms", color=MUTED)
    axes.set_ylabel("Requests answered in a second", color=MUTED)
    figure.legend(frameon=False, labelcolor=INK, loc="outside lower left", fontsize=9)
    axes.grid(color=GRID)
    axes.set_axisbelow(True)
    axes.tick_params(colors=MUTED, length=0, which="both")
    for spine in axes.spines.values():
        spine.set_visible(False)
    figure.suptitle(
        f"{tuning.ground.subject} on {tuning.ground.address}: {tuning.verdict.reason}", color=INK, wrap=True
    )
    return figure


def _plot(axes: Axes, trial: Trial, colour: str, label: str) -> None:
    points = sorted(trial.points, key=lambda point: point.clients)
    if not points:
        return
    axes.plot(
        [point.p99_ms for point in points],
        [point.per_second for point in points],
        color=colour,
        marker="o",
        markersize=4,
        label=label or "_",
        zorder=3 if label else 2,
    )
    if label:
        for point in points:
            axes.annotate(
                f"{point.clients}",
                (point.p99_ms, point.per_second),
                fontsize=8,
                color=MUTED,
                xytext=(4, 4),
                textcoords="offset points",
            )
