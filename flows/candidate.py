"""The flow around the one step of train-model that needs a GPU, so that another pool can run it.

train, which goes on at its last finished epoch where the run's process or pod is gone
"""

from typing import Annotated

from prefect import flow

from blocks.checkpoints import Checkpoints
from blocks.environment import RESULT_STORAGE, load_block, load_environment
from flows.running.defaults import load_defaults
from flows.running.forms import with_form
from flows.running.waiting import wake_parent
from slipway.learning.parameters import TrainingSettings
from slipway.learning.results import TrainedModel
from tasks.policies import FLAT
from tasks.training.train import train

DEFAULTS = load_defaults().train_model


@flow(
    name="train-candidate",
    flow_run_name="train candidate {model_name} on {dataset}",
    result_storage=RESULT_STORAGE,
    result_serializer="json",
    persist_result=True,
    on_completion=[wake_parent],
    on_failure=[wake_parent],
    on_cancellation=[wake_parent],
    on_crashed=[wake_parent],
)
@with_form(DEFAULTS)
def train_candidate(settings: Annotated[TrainingSettings, FLAT]) -> TrainedModel:
    """Train a ResNet18 and register its best epoch, nothing more: train-model judges, exports and validates it."""
    return train(settings=settings, registry=load_environment().registry, checkpoints=load_block(Checkpoints))
