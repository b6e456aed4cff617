"""Which epoch of a training is the best, and with which figures."""

import numpy as np

from slipway.learning.evaluation import Judgement
from slipway.learning.history import EpochFigures, correct_best, sum_up_epoch


def judged(accuracy: float, loss: float = 0.5) -> Judgement:
    return Judgement(accuracy, loss, np.zeros((1, 2), dtype=np.float32))


def history(*epochs: Judgement) -> list[EpochFigures]:
    figures: list[EpochFigures] = []
    for epoch in epochs:
        figures.append(sum_up_epoch(figures, 0.1, epoch, 1.0))
    return figures


def test_the_best_epoch_has_the_highest_accuracy_and_among_equals_the_lowest_loss() -> None:
    found = history(judged(0.8), judged(0.9, 0.4), judged(0.9, 0.3), judged(0.9, 0.3), judged(0.7, 0.1))

    assert [figures.best_epoch for figures in found] == [1, 2, 3, 3, 3]
    assert [figures.is_best for figures in found] == [True, True, True, False, False]
    assert (found[-1].best_val_accuracy, found[-1].best_val_loss) == (0.9, 0.3)


def test_a_best_epoch_that_is_judged_again_keeps_its_place_and_gets_its_new_figures() -> None:
    found = history(judged(0.9), judged(0.8))

    corrected, last = correct_best(found[1], judged(0.88, 0.2)), correct_best(found[0], judged(0.88, 0.2))

    assert (corrected.best_epoch, corrected.best_val_accuracy, corrected.best_val_loss) == (1, 0.88, 0.2)
    assert (corrected.val_accuracy, last.val_accuracy) == (0.8, 0.88), "its own figures, where it is the best one"
