"""Step 4 of the training flow, validate-onnx, gate 2: an export is registered only if it computes what PyTorch does."""

from typing import Annotated

from prefect import task

from blocks.registry import ModelRegistry
from slipway.learning.parameters import ExportRunId, Seed, ValidationTerms
from slipway.learning.results import ValidatedOnnx
from tasks.policies import FLAT, PER_RUN


@task(name="validate-onnx", task_run_name="validate-onnx", cache_policy=PER_RUN)
def validate_onnx(
    export_run_id: ExportRunId, terms: Annotated[ValidationTerms, FLAT], seed: Seed, *, registry: ModelRegistry
) -> ValidatedOnnx:
    """Compare an export with the version it was made of; register it as `<model>-onnx` and set `deploy` if it holds.

    An export that is registered already keeps its version. Raises `ValidationFailed`, with a report in MLflow and
    nothing registered, if a difference exceeds the tolerance, and `InvalidInput` for a run that is no export.
    """
    from slipway.learning.validation import validate  # torch

    return validate(export_run_id, terms, seed=seed, registry=registry)
