"""Step 1 of the training flow, train: a ResNet18 is trained, and its best epoch registered."""

from typing import Annotated

from cyclopts import Parameter
from prefect import task

from blocks.checkpoints import Checkpoints
from blocks.registry import ModelRegistry
from slipway.learning.parameters import TrainingSettings
from slipway.learning.results import TrainedModel
from tasks.policies import FLAT, PER_RUN

NOT_FROM_A_SHELL = Parameter(parse=False)  # where there is no flow run to come back to


@task(name="train", task_run_name="train", cache_policy=PER_RUN)
def train(
    settings: Annotated[TrainingSettings, FLAT],
    *,
    registry: ModelRegistry,
    checkpoints: Annotated[Checkpoints | None, NOT_FROM_A_SHELL] = None,
) -> TrainedModel:
    """Train a ResNet18 with random weights and register the best epoch's as a new version of the model.

    Uses a GPU where there is one. Called again in the same flow run, since its process was killed, it goes on after the
    last epoch in `checkpoints`. Raises `UnusableModel`, with nothing registered, when the training diverges.
    """
    from slipway.learning import training  # torch

    return training.train(settings, registry=registry, checkpoints=checkpoints)
