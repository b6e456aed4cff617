"""The training flow: from images to a validated ONNX model in the MLflow registry, whose alias releases it.

train (here, or on another pool's GPU) -> promote (gate 1) -> export-onnx -> validate-onnx (gate 2) [-> deploy-model]
"""

from inspect import signature
from typing import Any

from prefect import flow
from prefect.client.schemas.objects import State
from prefect.states import Cancelled, Completed
from pydantic import BaseModel, ConfigDict

from blocks.checkpoints import Checkpoints
from blocks.environment import RESULT_STORAGE, load_block, load_environment
from blocks.errors import StepCancelled
from blocks.names import ModelName
from blocks.registry import ModelRegistry
from flows.candidate import train_candidate
from flows.deployment import deploy_model
from flows.running.defaults import load_defaults
from flows.running.elsewhere import end_children, run_elsewhere
from flows.running.forms import described
from slipway.learning.export import OnnxExport, export_onnx
from slipway.learning.gate import Verdict
from slipway.learning.parameters import (
    BatchSize,
    Dataset,
    Deploy,
    Epochs,
    GreaterIsBetter,
    InputShape,
    LearningRate,
    MetricName,
    MetricThreshold,
    MinImprovement,
    NumWorkers,
    Seed,
    TrainingDeployment,
    ValidationSamples,
    ValidationTolerance,
)
from slipway.learning.promotion import promote
from slipway.learning.training import TrainedModel, train
from slipway.learning.validation import ValidatedOnnx, validate_onnx

DEFAULTS = load_defaults().train_model


class Training(BaseModel):
    """What a training run led to: both gates' figures and the ONNX version ready for deployment."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    trained: TrainedModel
    verdict: Verdict
    exported: OnnxExport
    validated: ValidatedOnnx


@flow(
    name="train-model",
    flow_run_name="train {model_name} on {dataset}",
    result_storage=RESULT_STORAGE,
    result_serializer="json",
    persist_result=True,
    on_failure=[end_children],
    on_cancellation=[end_children],
    on_crashed=[end_children],
)
@described
def train_model(
    model_name: ModelName = DEFAULTS.model_name,
    dataset: Dataset = DEFAULTS.dataset,
    epochs: Epochs = DEFAULTS.epochs,
    learning_rate: LearningRate = DEFAULTS.learning_rate,
    batch_size: BatchSize = DEFAULTS.batch_size,
    num_workers: NumWorkers = DEFAULTS.num_workers,
    input_shape: InputShape = DEFAULTS.input_shape,
    seed: Seed = DEFAULTS.seed,
    metric_name: MetricName = DEFAULTS.metric_name,
    greater_is_better: GreaterIsBetter = DEFAULTS.greater_is_better,
    metric_threshold: MetricThreshold = DEFAULTS.metric_threshold,
    min_improvement: MinImprovement = DEFAULTS.min_improvement,
    validation_tolerance: ValidationTolerance = DEFAULTS.validation_tolerance,
    validation_samples: ValidationSamples = DEFAULTS.validation_samples,
    deploy: Deploy = DEFAULTS.deploy,
    training_deployment: TrainingDeployment = None,
) -> Training | State[Verdict]:
    """Train a ResNet18; export and validate it if it beats the champion. Its alias `deploy` then releases it.

    A candidate that gate 1 refuses ends the run as `Completed` named `Rejected`, and nothing is exported. An export
    that gate 2 refuses fails the run with `ValidationFailed`, and nothing is registered.
    """
    registry = load_environment().registry
    settings = (model_name, dataset, epochs, learning_rate, batch_size, num_workers, input_shape, seed)
    try:
        trained = _trained(settings, training_deployment, registry)
    except StepCancelled as cancelled:
        return Cancelled(message=str(cancelled))
    verdict = promote(
        model_name,
        trained.version,
        metric_name,
        greater_is_better,
        metric_threshold,
        min_improvement,
        num_workers,
        registry=registry,
    )
    if not verdict.passed:
        return Completed(name="Rejected", message=verdict.reason, data=verdict)
    exported = export_onnx(verdict.model_name, verdict.version, registry=registry)
    validated = validate_onnx(exported.run_id, validation_tolerance, validation_samples, seed, registry=registry)
    if deploy:
        deploy_model(model_name=validated.model_name, source=f"version:{validated.version}")
    return Training(trained=trained, verdict=verdict, exported=exported, validated=validated)


def _trained(settings: tuple[Any, ...], deployment: str | None, registry: ModelRegistry) -> TrainedModel:
    if deployment is None:
        return train(*settings, registry=registry, checkpoints=load_block(Checkpoints))
    names = signature(train_candidate.fn).parameters
    return TrainedModel.model_validate(run_elsewhere(deployment, dict(zip(names, settings, strict=True))).result())
