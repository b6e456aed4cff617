"""Step 4 of the training flow, validate-onnx, gate 2: an export is registered only if it computes what PyTorch does."""

from typing import Annotated

from prefect import task

from blocks.registry import ModelRegistry
from slipway.learning.parameters import DecodingThreads, ExportRunId, Seed, ValidationTerms
from slipway.learning.results import RefusedPrecision, ValidatedOnnx
from tasks.policies import FLAT, PER_RUN


@task(name="validate-onnx", task_run_name="validate-onnx", cache_policy=PER_RUN)
def validate_onnx(
    export_run_id: ExportRunId,
    terms: Annotated[ValidationTerms, FLAT],
    seed: Seed,
    num_workers: DecodingThreads = None,
    *,
    registry: ModelRegistry,
) -> ValidatedOnnx | RefusedPrecision:
    """Compare an export with the version it was made of; register it as `<model>-onnx` and set `deploy` if it holds.

    Variants that were exported with it pass gate 1 on the whole validation set, or are refused; the precision that is
    asked for is registered, and where it is refused, none is. What is registered already keeps its version. Raises
    `ValidationFailed`, with a report in MLflow and nothing registered, if a difference exceeds the tolerance, and
    `InvalidInput` for a run that is no export, or not of that precision.
    """
    from slipway.learning.validation import validate  # torch

    return validate(export_run_id, terms, seed=seed, num_workers=num_workers, registry=registry)
