"""The flow around the one step of train-model that needs a GPU, so that another pool can run it.

train, which goes on at its last finished epoch where the run's process or pod is gone
"""

from prefect import flow

from blocks.checkpoints import Checkpoints
from blocks.environment import RESULT_STORAGE, load_block
from blocks.names import ModelName
from blocks.registry import ModelRegistry
from flows.running.defaults import load_defaults
from flows.running.forms import described
from flows.running.waiting import wake_parent
from slipway.learning.parameters import BatchSize, Dataset, Epochs, InputShape, LearningRate, NumWorkers, Seed
from slipway.learning.training import TrainedModel, train

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
@described
def train_candidate(
    model_name: ModelName = DEFAULTS.model_name,
    dataset: Dataset = DEFAULTS.dataset,
    epochs: Epochs = DEFAULTS.epochs,
    learning_rate: LearningRate = DEFAULTS.learning_rate,
    batch_size: BatchSize = DEFAULTS.batch_size,
    num_workers: NumWorkers = DEFAULTS.num_workers,
    input_shape: InputShape = DEFAULTS.input_shape,
    seed: Seed = DEFAULTS.seed,
) -> TrainedModel:
    """Train a ResNet18 and register its best epoch, nothing more: train-model judges, exports and validates it."""
    return train(
        model_name,
        dataset,
        epochs,
        learning_rate,
        batch_size,
        num_workers,
        input_shape,
        seed,
        registry=load_block(ModelRegistry),
        checkpoints=load_block(Checkpoints),
    )
