"""Step 4 of the detector's flow, export-detector, gate 2: the best weights as ONNX, computing what PyTorch does."""

from prefect import task

from blocks.registry import ModelRegistry
from slipway.learning.yolo.parameters import ParityTolerance
from slipway.learning.yolo.results import DatasetSplit, ExportedDetector, TrainedDetector
from tasks.policies import PER_RUN


@task(name="export-detector", task_run_name="export-detector", cache_policy=PER_RUN)
def export_detector(
    trained: TrainedDetector, split: DatasetSplit, parity_tolerance: ParityTolerance = 1e-4, *, registry: ModelRegistry
) -> ExportedDetector:
    """Export the weights, and keep real pictures with PyTorch's answers beside them as golden samples.

    Raises `ValidationFailed` if ONNX Runtime answers otherwise, and `IntegrityError` for weights that were changed.
    """
    from slipway.learning.yolo import export  # torch

    return export.export_detector(trained, split, parity_tolerance, registry=registry)
