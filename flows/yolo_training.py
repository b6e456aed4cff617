"""The training flow of detectors: from pictures and boxes to an ONNX model in the registry, whose alias releases it.

check-dataset -> split-dataset -> train-detector -> export-detector (gate 2) -> judge-detector (gate 1)
-> register-detector (-> alias deploy -> deploy-model)
"""

from typing import Annotated

from prefect import flow
from prefect.client.schemas.objects import State
from prefect.states import Completed
from pydantic import BaseModel, ConfigDict

from blocks.environment import RESULT_STORAGE, load_environment
from flows.running.forms import with_form
from slipway.learning.yolo.gate import DetectorVerdict
from slipway.learning.yolo.parameters import (
    Backgrounds,
    DatasetPath,
    DetectorCriteria,
    DetectorDefaults,
    DetectorSettings,
    ParityTolerance,
)
from slipway.learning.yolo.results import ExportedDetector, TrainedDetector
from slipway.releases.publication import Publication
from tasks.policies import FLAT
from tasks.yolo.check_dataset import check_dataset
from tasks.yolo.export_detector import export_detector
from tasks.yolo.judge_detector import judge_detector
from tasks.yolo.register_detector import register_detector
from tasks.yolo.split_dataset import split_dataset
from tasks.yolo.train_detector import train_detector

# pydantic's own defaults: whoever trains a detector says on which pictures, and what it is called
DEFAULTS = DetectorDefaults()


class DetectorTraining(BaseModel):
    """What a training of a detector led to: both gates' figures and the version that is ready for deployment."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    trained: TrainedDetector
    exported: ExportedDetector
    verdict: DetectorVerdict
    published: Publication


@flow(
    name="train-yolo",
    flow_run_name="train {model_name} on {dataset_path}",
    result_storage=RESULT_STORAGE,
    result_serializer="json",
    persist_result=True,
)
@with_form(DEFAULTS)
def train_yolo(
    dataset_path: DatasetPath,
    settings: Annotated[DetectorSettings, FLAT],
    criteria: Annotated[DetectorCriteria, FLAT],
    backgrounds: Backgrounds = False,
    parity_tolerance: ParityTolerance = 1e-4,
) -> DetectorTraining | State[DetectorVerdict]:
    """Train a YOLO detector; register it if it finds more than the champion and is not slower. `deploy` releases it.

    A candidate that gate 1 refuses ends the run as `Completed` named `Rejected`, and nothing is registered. Needs
    ultralytics beside slipway: its licence is the AGPL-3.0.
    """
    registry = load_environment().registry
    dataset = check_dataset(dataset_path=dataset_path, backgrounds=backgrounds)
    split = split_dataset(dataset=dataset, seed=settings.seed)
    trained = train_detector(settings=settings, split=split, registry=registry)
    exported = export_detector(trained=trained, split=split, parity_tolerance=parity_tolerance, registry=registry)
    verdict = judge_detector(exported=exported, split=split, criteria=criteria, registry=registry)
    if not verdict.passed:
        return Completed(name="Rejected", message=verdict.reason, data=verdict)
    published = register_detector(exported=exported, verdict=verdict, registry=registry)
    return DetectorTraining(trained=trained, exported=exported, verdict=verdict, published=published)
