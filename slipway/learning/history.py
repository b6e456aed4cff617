"""The history of a training: what each epoch came to, and which one is the best so far."""

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace

from blocks.errors import UnusableModel
from slipway.learning.evaluation import Judgement


@dataclass(frozen=True)
class EpochFigures:
    """What one epoch came to. Accuracies are fractions; `best_*` are of the best epoch so far."""

    epoch: int
    train_loss: float
    val_loss: float
    val_accuracy: float
    epoch_time_s: float
    best_epoch: int
    best_val_accuracy: float
    best_val_loss: float

    @property
    def is_best(self) -> bool:
        """Whether no epoch before was as good."""
        return self.best_epoch == self.epoch


def sum_up_epoch(
    history: Sequence[EpochFigures], train_loss: float, judged: Judgement, epoch_time_s: float
) -> EpochFigures:
    """Return the figures of the epoch that follows a history; `UnusableModel` where a loss is no number.

    The best epoch has the highest validation accuracy, among equals the lowest loss.
    """
    epoch, best = len(history) + 1, history[-1] if history else None
    if not (math.isfinite(train_loss) and math.isfinite(judged.loss)):
        raise UnusableModel(
            f"training diverged in epoch {epoch}: training loss {train_loss}, validation loss {judged.loss}; "
            "expected finite numbers: lower learning_rate, or look for broken images"
        )
    better = best is None or (judged.accuracy, -judged.loss) > (best.best_val_accuracy, -best.best_val_loss)
    return EpochFigures(
        epoch=epoch,
        train_loss=train_loss,
        val_loss=judged.loss,
        val_accuracy=judged.accuracy,
        epoch_time_s=epoch_time_s,
        best_epoch=epoch if better or best is None else best.best_epoch,
        best_val_accuracy=judged.accuracy if better or best is None else best.best_val_accuracy,
        best_val_loss=judged.loss if better or best is None else best.best_val_loss,
    )


def correct_best(figures: EpochFigures, judged: Judgement) -> EpochFigures:
    """Return figures whose best epoch was judged again."""
    corrected = replace(figures, best_val_accuracy=judged.accuracy, best_val_loss=judged.loss)
    if not figures.is_best:
        return corrected
    return replace(corrected, val_accuracy=judged.accuracy, val_loss=judged.loss)
