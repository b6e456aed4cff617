"""Step 3 of the training flow, export-onnx: exactly the promoted version as ONNX, in each precision asked for."""

from prefect import task

from blocks.names import ModelName
from blocks.registry import ModelRegistry
from slipway.learning.parameters import SINGLE_FILE_LIMIT_BYTES, DecodingThreads, Seed, Version
from slipway.learning.results import OnnxExport
from slipway.learning.served_precision import Variants
from tasks.policies import PER_RUN


@task(name="export-onnx", task_run_name="export-onnx", cache_policy=PER_RUN)
def export_onnx(
    model_name: ModelName,
    version: Version,
    *,
    registry: ModelRegistry,
    variants: Variants = [],  # noqa: B006, never changed
    num_workers: DecodingThreads = None,
    seed: Seed = 0,
    single_file_limit_bytes: int = SINGLE_FILE_LIMIT_BYTES,
) -> OnnxExport:
    """Export version `version` of `model_name`, and variants of it, and log them to a run `export-<model>-v<N>`.

    The ONNX model takes `input` (batch_size, 3, height, width) float32 and returns `output` (batch_size, classes);
    weights of `single_file_limit_bytes` and more go to `model.onnx.data` beside it. INT8 is calibrated on training
    images drawn by `seed`. A variant that cannot be made is logged with its reason.
    """
    from slipway.learning.export import export  # torch

    return export(
        model_name,
        version,
        registry=registry,
        variants=variants,
        num_workers=num_workers,
        seed=seed,
        single_file_limit_bytes=single_file_limit_bytes,
    )
