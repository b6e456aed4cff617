"""The training flow: from images to a validated ONNX model in the MLflow registry, whose alias releases it.

train (here, or on another pool's GPU) -> promote (gate 1) -> export-onnx -> validate-onnx (gate 2, here or on that
GPU) [-> deploy-model]
"""

from typing import Annotated, Any

from prefect import flow
from prefect.client.schemas.objects import State
from prefect.states import Cancelled, Completed
from pydantic import BaseModel, ConfigDict, TypeAdapter

from blocks.checkpoints import Checkpoints
from blocks.environment import RESULT_STORAGE, load_block, load_environment
from blocks.errors import StepCancelled
from blocks.registry import ModelRegistry
from flows.deployment import deploy_model
from flows.running.defaults import load_defaults
from flows.running.elsewhere import end_children, run_elsewhere
from flows.running.forms import with_form
from slipway.learning.gate import Criteria, Verdict, require_measurable
from slipway.learning.parameters import (
    Deploy,
    TrainingDeployment,
    TrainingSettings,
    ValidationDeployment,
    ValidationTerms,
)
from slipway.learning.results import OnnxExport, RefusedPrecision, TrainedModel, ValidatedOnnx
from slipway.learning.served_precision import Variants, list_variants
from tasks.policies import FLAT
from tasks.training.export_onnx import export_onnx
from tasks.training.promote import promote
from tasks.training.train import train
from tasks.training.validate_onnx import validate_onnx

DEFAULTS = load_defaults().train_model
VALIDATION_DEADLINE_S = 2 * 3600.0
VALIDATED: TypeAdapter[ValidatedOnnx | RefusedPrecision] = TypeAdapter(ValidatedOnnx | RefusedPrecision)


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
@with_form(DEFAULTS)
def train_model(
    settings: Annotated[TrainingSettings, FLAT],
    criteria: Annotated[Criteria, FLAT],
    terms: Annotated[ValidationTerms, FLAT],
    deploy: Deploy = DEFAULTS.deploy,
    variants: Variants = DEFAULTS.variants,
    training_deployment: TrainingDeployment = None,
    validation_deployment: ValidationDeployment = None,
) -> Training | State[Verdict | RefusedPrecision]:
    """Train a ResNet18; export and validate it if it beats the champion. Its alias `deploy` then releases it.

    A candidate that gate 1 refuses ends the run as `Completed` named `Rejected`, and nothing is exported. An export
    that gate 2 refuses fails the run with `ValidationFailed`, and nothing is registered; nor is it where the precision
    that was asked for is refused, which is `Rejected`, too.
    """
    registry = load_environment().registry
    exporting = list_variants(variants, terms.precision)
    if exporting:
        require_measurable(criteria.metric_name, "variants are judged by it, too")
    try:
        trained = train_here_or_elsewhere(settings, training_deployment, registry)
    except StepCancelled as cancelled:
        return Cancelled(message=str(cancelled))
    verdict = promote(
        model_name=trained.model_name,
        version=trained.version,
        criteria=criteria,
        num_workers=settings.num_workers,
        registry=registry,
    )
    if not verdict.passed:
        return Completed(name="Rejected", message=verdict.reason, data=verdict)
    exported = export_onnx(
        model_name=verdict.model_name,
        version=verdict.version,
        variants=exporting,
        num_workers=settings.num_workers,
        seed=settings.seed,
        registry=registry,
    )
    try:
        validated = validate_here_or_elsewhere(exported, terms, settings, validation_deployment, registry)
    except StepCancelled as cancelled:
        return Cancelled(message=str(cancelled))
    if isinstance(validated, RefusedPrecision):
        return Completed(name="Rejected", message=validated.reason, data=validated)
    if deploy:
        deploy_model(model_name=validated.model_name, source=f"version:{validated.version}")
    return Training(trained=trained, verdict=verdict, exported=exported, validated=validated)


def train_here_or_elsewhere(
    settings: TrainingSettings, deployment: str | None, registry: ModelRegistry
) -> TrainedModel:
    """Train in this run, or, where a deployment of train-candidate is named, in a run of that one."""
    if deployment is None:
        return train(settings=settings, registry=registry, checkpoints=load_block(Checkpoints))
    return TrainedModel.model_validate(run_elsewhere(deployment, settings.model_dump(mode="json")).result())


def validate_here_or_elsewhere(
    exported: OnnxExport,
    terms: ValidationTerms,
    settings: TrainingSettings,
    deployment: str | None,
    registry: ModelRegistry,
) -> ValidatedOnnx | RefusedPrecision:
    """Pass gate 2 in this run, or, where a deployment of validate-export is named, in a run of that one."""
    seed, num_workers = settings.seed, settings.num_workers
    if deployment is None:
        return validate_onnx(exported.run_id, terms, seed, num_workers, registry=registry)
    handed = list_handed(exported.run_id, terms, seed, num_workers)
    return VALIDATED.validate_python(run_elsewhere(deployment, handed, VALIDATION_DEADLINE_S).result())


def list_handed(export_run_id: str, terms: ValidationTerms, seed: int, num_workers: int | None) -> dict[str, Any]:
    """Return the parameters of a run of validate-export."""
    own = {"export_run_id": export_run_id, "seed": seed, "num_workers": num_workers}
    return own | terms.model_dump(mode="json")
