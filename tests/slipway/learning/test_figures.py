"""The pictures, as far as a machine can tell."""

import numpy as np
import pytest

from slipway.learning.figures import draw_confusion_matrix, draw_sample_predictions, draw_training_curves
from slipway.learning.history import EpochFigures

CLASSES = ("cat", "dog", "hen")
LABELS = np.array([0, 0, 1, 1, 2, 2])
LOGITS = np.eye(3, dtype=np.float32)[[0, 1, 1, 1, 2, 0]] * 5


def test_the_confusion_matrix_counts_each_pair_of_classes() -> None:
    axes = draw_confusion_matrix(LABELS, LOGITS.argmax(axis=1), CLASSES, "net").axes[0]

    counts = {(text.get_position(), text.get_text()) for text in axes.texts}
    assert counts == {((0, 0), "1"), ((1, 0), "1"), ((1, 1), "2"), ((2, 2), "1"), ((0, 2), "1")}
    assert "4 of 6" in axes.get_title(loc="left")


def test_the_sample_grid_shows_mistakes_first_and_says_what_is_right() -> None:
    figure = draw_sample_predictions(np.zeros((6, 3, 8, 8), np.uint8), LABELS, LOGITS, CLASSES, "net")

    titles = [axes.get_title() for axes in figure.axes if axes.get_title()]
    assert len(titles) == 6
    assert [title.split("\n")[1] for title in titles[:2]] == ["truly cat", "truly hen"]
    assert all("truly" not in title for title in titles[2:])


@pytest.mark.parametrize("epochs", [1, 30])
def test_the_curves_mark_the_best_epoch(epochs: int) -> None:
    history = [EpochFigures(n, 1 / n, 1 / n, 0.9, 1.0, min(n, 3), 0.9, 0.3) for n in range(1, epochs + 1)]

    losses, accuracies = draw_training_curves(history, "net").axes

    assert [np.size(line.get_xdata()) for line in losses.lines[:2]] == [epochs, epochs]
    assert np.array_equal(accuracies.lines[-1].get_xdata(), [min(epochs, 3)] * 2)
