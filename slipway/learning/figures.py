"""The pictures of a training run: curves, confusion matrix and sample predictions."""

from collections.abc import Sequence

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator, PercentFormatter
from numpy.typing import NDArray

from slipway.learning.history import EpochFigures

INK, MUTED, GRID = "#1f2933", "#6b7785", "#e4e8ec"
BLUE, ORANGE, RED = "#2563c9", "#e07a1f", "#c93030"


def draw_training_curves(history: Sequence[EpochFigures], title: str) -> Figure:
    """Return loss and validation accuracy over the epochs, the best epoch marked."""
    figure = Figure(figsize=(10, 4.2), layout="constrained")
    losses, accuracies = figure.subplots(1, 2)
    epochs = [figures.epoch for figures in history]
    best = history[-1].best_epoch
    losses.plot(epochs, [f.train_loss for f in history], color=BLUE, marker="o", markersize=4, label="training")
    losses.plot(epochs, [f.val_loss for f in history], color=ORANGE, marker="o", markersize=4, label="validation")
    losses.legend(frameon=False, labelcolor=INK)
    accuracies.plot(epochs, [f.val_accuracy for f in history], color=ORANGE, marker="o", markersize=4)
    accuracies.yaxis.set_major_formatter(PercentFormatter(1.0, decimals=None))
    for axes, label in ((losses, "Cross-entropy loss"), (accuracies, "Validation accuracy")):
        _dress(axes, label)
        axes.set_xlabel("Epoch", color=MUTED)
        axes.axvline(best, color=MUTED, linewidth=1, linestyle=":")
        axes.xaxis.set_major_locator(MaxNLocator(integer=True))
        axes.grid(axis="y", color=GRID)
        axes.set_axisbelow(True)
    figure.suptitle(
        f"{title}: best epoch {best}, {history[-1].best_val_accuracy:.1%} of the validation images right", color=INK
    )
    return figure


def draw_confusion_matrix(
    labels: NDArray[np.int64], predicted: NDArray[np.int64], classes: Sequence[str], title: str
) -> Figure:
    """Return how often each true class (row) was taken for each class (column); shading is the row's share."""
    counts = np.zeros((len(classes), len(classes)), dtype=np.int64)
    np.add.at(counts, (labels, predicted), 1)
    shares = counts / np.maximum(counts.sum(axis=1, keepdims=True), 1)
    side = max(5.0, 0.62 * len(classes) + 2.2)
    figure = Figure(figsize=(side + 0.8, side), layout="constrained")
    axes = figure.subplots()
    shaded = axes.imshow(shares, cmap="Blues", vmin=0, vmax=1)
    for row, column in zip(*np.nonzero(counts), strict=True):
        ink = "white" if shares[row, column] > 0.55 else INK
        axes.text(column, row, str(counts[row, column]), ha="center", va="center", color=ink, fontsize=9)
    slanted = max(len(name) for name in classes) > 3
    axes.set_xticks(range(len(classes)), classes, rotation=45 if slanted else 0, ha="right" if slanted else "center")
    axes.set_yticks(range(len(classes)), classes)
    _dress(axes, f"{title}: {np.trace(counts)} of {counts.sum()} validation images right")
    axes.set_xlabel("Predicted class", color=MUTED)
    axes.set_ylabel("True class", color=MUTED)
    bar = figure.colorbar(shaded, ax=axes, fraction=0.045, format=PercentFormatter(1.0))
    bar.outline.set_visible(False)
    bar.ax.tick_params(colors=MUTED, length=0)
    return figure


def draw_sample_predictions(
    images: NDArray[np.uint8],
    labels: NDArray[np.int64],
    logits: NDArray[np.float32],
    classes: Sequence[str],
    title: str,
) -> Figure:
    """Return 24 validation images with prediction and confidence: up to eight mistakes first, in red."""
    confidence = _compute_softmax(logits).max(axis=1)
    predicted = logits.argmax(axis=1)
    chosen = _put_mistakes_first(predicted != labels, confidence, count=24)
    figure = Figure(figsize=(12, 5.6), layout="constrained")
    for axes in (grid := figure.subplots(3, 8)).flat:
        axes.axis("off")
    for axes, index in zip(grid.flat, chosen, strict=False):
        right = predicted[index] == labels[index]
        axes.imshow(images[index].transpose(1, 2, 0), interpolation="nearest")
        text = f"{classes[predicted[index]]}  {confidence[index]:.0%}"
        text = text if right else f"{text}\ntruly {classes[labels[index]]}"
        axes.set_title(text, fontsize=9, color=INK if right else RED)
    wrong = int((predicted != labels).sum())
    shown = "all" if wrong <= 8 else "8 of"
    figure.suptitle(
        f"{title}: predictions and confidence; {shown} {wrong} mistakes among {len(labels)} in red", color=INK
    )
    return figure


def _put_mistakes_first(wrong: NDArray[np.bool_], confidence: NDArray[np.float32], count: int) -> list[int]:
    mistakes = np.flatnonzero(wrong)
    surest = mistakes[np.argsort(-confidence[mistakes], kind="stable")][:8]
    right = np.random.default_rng(0).permutation(np.flatnonzero(~wrong))
    return [int(index) for index in np.concatenate([surest, right])[:count]]


def _compute_softmax(logits: NDArray[np.float32]) -> NDArray[np.float32]:
    powers = np.exp(logits - logits.max(axis=1, keepdims=True))
    return np.asarray(powers / powers.sum(axis=1, keepdims=True), dtype=np.float32)


def _dress(axes: Axes, title: str) -> None:
    axes.set_title(title, fontsize=11, color=INK, loc="left")
    axes.tick_params(colors=MUTED, length=0)
    for spine in axes.spines.values():
        spine.set_visible(False)
