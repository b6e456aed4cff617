"""Step 3 of the training flow, export-onnx: exactly the promoted version, expressed as ONNX."""

from prefect import task

from blocks.names import ModelName
from blocks.registry import ModelRegistry
from slipway.learning.parameters import SINGLE_FILE_LIMIT_BYTES, Version
from slipway.learning.results import OnnxExport
from tasks.policies import PER_RUN


@task(name="export-onnx", task_run_name="export-onnx", cache_policy=PER_RUN)
def export_onnx(
    model_name: ModelName,
    version: Version,
    *,
    registry: ModelRegistry,
    single_file_limit_bytes: int = SINGLE_FILE_LIMIT_BYTES,
) -> OnnxExport:
    """Export version `version` of `model_name` and log it to a run `export-<model>-v<N>`.

    The ONNX model takes `input` (batch_size, 3, height, width) float32 and returns `output` (batch_size, classes);
    weights of `single_file_limit_bytes` and more go to `model.onnx.data` beside it.
    """
    from slipway.learning.export import export  # torch

    return export(model_name, version, registry=registry, single_file_limit_bytes=single_file_limit_bytes)
