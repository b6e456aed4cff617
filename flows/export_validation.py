"""The flow around gate 2, so that it can compute where training did: on a GPU of another pool.

validate-onnx, with TF32 switched off on both sides
"""

from typing import Annotated

from prefect import flow
from prefect.client.schemas.objects import State
from prefect.states import Completed

from blocks.environment import RESULT_STORAGE, load_environment
from flows.running.defaults import load_defaults
from flows.running.forms import with_form
from flows.running.waiting import wake_parent
from slipway.learning.parameters import DecodingThreads, ExportRunId, Seed, ValidationTerms
from slipway.learning.results import RefusedPrecision, ValidatedOnnx
from tasks.policies import FLAT
from tasks.training.validate_onnx import validate_onnx

DEFAULTS = load_defaults().train_model


@flow(
    name="validate-export",
    flow_run_name="validate export {export_run_id}",
    result_storage=RESULT_STORAGE,
    result_serializer="json",
    persist_result=True,
    on_completion=[wake_parent],
    on_failure=[wake_parent],
    on_cancellation=[wake_parent],
    on_crashed=[wake_parent],
)
@with_form(DEFAULTS)
def validate_export(
    export_run_id: ExportRunId,
    terms: Annotated[ValidationTerms, FLAT],
    seed: Seed = DEFAULTS.seed,
    num_workers: DecodingThreads = DEFAULTS.num_workers,
) -> ValidatedOnnx | State[RefusedPrecision]:
    """Compare an export with the version it was made of, and set `deploy` on it where it computes the same.

    A precision that may not be released ends the run as `Completed` named `Rejected`, and nothing is registered.
    """
    registry = load_environment().registry
    validated = validate_onnx(
        export_run_id=export_run_id, terms=terms, seed=seed, num_workers=num_workers, registry=registry
    )
    if isinstance(validated, RefusedPrecision):
        return Completed(name="Rejected", message=validated.reason, data=validated)
    return validated
