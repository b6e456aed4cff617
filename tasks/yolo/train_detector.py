"""Step 3 of the detector's flow, train-detector: a YOLO network is trained, and its best epoch kept in MLflow."""

from typing import Annotated

from prefect import task

from blocks.registry import ModelRegistry
from slipway.learning.yolo.parameters import DetectorSettings
from slipway.learning.yolo.results import DatasetSplit, TrainedDetector
from tasks.policies import FLAT, PER_RUN


@task(name="train-detector", task_run_name="train-detector", cache_policy=PER_RUN)
def train_detector(
    settings: Annotated[DetectorSettings, FLAT], split: DatasetSplit, *, registry: ModelRegistry
) -> TrainedDetector:
    """Train by ultralytics, on a GPU where there is one; parameters, epochs and the best weights go to MLflow.

    Raises `InvalidInput` where ultralytics is not installed, or the files are no longer those that were checked.
    """
    from slipway.learning.yolo import training  # torch

    return training.train_detector(settings, split, registry=registry)
