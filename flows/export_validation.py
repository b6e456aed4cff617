"""The flow around gate 2, so that it can compute where training did: on a GPU of another pool.

validate-onnx, with TF32 switched off on both sides
"""

from typing import Annotated

from prefect import flow

from blocks.environment import RESULT_STORAGE, load_environment
from flows.running.defaults import load_defaults
from flows.running.forms import with_form
from flows.running.waiting import wake_parent
from slipway.learning.parameters import ExportRunId, Seed, ValidationTerms
from slipway.learning.results import ValidatedOnnx
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
    export_run_id: ExportRunId, terms: Annotated[ValidationTerms, FLAT], seed: Seed = DEFAULTS.seed
) -> ValidatedOnnx:
    """Compare an export with the version it was made of, and set `deploy` on it where it computes the same."""
    return validate_onnx(export_run_id=export_run_id, terms=terms, seed=seed, registry=load_environment().registry)
