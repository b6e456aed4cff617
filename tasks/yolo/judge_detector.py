"""Step 5 of the detector's flow, judge-detector, gate 1: more mAP50-95 than the champion, and not slower."""

from typing import Annotated

from prefect import task

from blocks.registry import ModelRegistry
from slipway.learning.yolo.gate import DetectorVerdict
from slipway.learning.yolo.parameters import DetectorCriteria
from slipway.learning.yolo.results import DatasetSplit, ExportedDetector
from tasks.policies import FLAT, PER_RUN


@task(name="judge-detector", task_run_name="judge-detector", cache_policy=PER_RUN)
def judge_detector(
    exported: ExportedDetector,
    split: DatasetSplit,
    criteria: Annotated[DetectorCriteria, FLAT],
    *,
    registry: ModelRegistry,
) -> DetectorVerdict:
    """Measure candidate and champion on the test part, here and in turns, and judge; nothing is registered."""
    from slipway.learning.yolo.judging import judge_export  # onnxruntime, torch

    return judge_export(exported, split, criteria, registry=registry)
