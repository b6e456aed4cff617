"""The types of the parameters of train-yolo: what each means and its bounds. Free of torch and of ultralytics."""

from pathlib import Path
from typing import Annotated

from pydantic import AfterValidator, BaseModel, ConfigDict, Field

from blocks.names import ModelName
from slipway.learning.parameters import Epochs, NumWorkers, Seed

STRIDE = 32  # the coarsest grid of the network: sizes are its multiples


def _check_network(network: str) -> str:
    if Path(network).suffix not in {".yaml", ".pt"}:
        raise ValueError(
            f"network {network!r}: expected a description, say yolo11n.yaml, which begins with random weights, or "
            "weights, say yolo11n.pt"
        )
    return network


def _check_image_size(size: int) -> int:
    if size % STRIDE:
        raise ValueError(f"image size {size}: expected a multiple of {STRIDE}")
    return size


DatasetPath = Annotated[
    Path,
    Field(description="Directory with data.yaml (names), images/ and labels/, where the flow runs."),
]
Backgrounds = Annotated[
    bool, Field(description="Whether an empty label file says that nothing is on the picture; else it is a finding.")
]
Network = Annotated[
    str,
    AfterValidator(_check_network),
    Field(description="What ultralytics begins with: yolo11n.yaml (random weights), or a file or name of weights."),
]
ImageSize = Annotated[
    int,
    AfterValidator(_check_image_size),
    Field(ge=STRIDE, le=2048, description="Pixels a side of what the network sees, a multiple of 32."),
]
PicturesAtOnce = Annotated[int, Field(ge=1, le=4096, description="Pictures in one optimiser step.")]
Patience = Annotated[int, Field(ge=0, le=10_000, description="Epochs without a better one that end it; 0: never.")]
MinMap = Annotated[float, Field(ge=0, le=1, description="Least mAP50-95 on the test part, whoever is champion.")]
MinMapImprovement = Annotated[
    float, Field(ge=0, le=1, description="How much more mAP50-95 than the champion a candidate must have.")
]
MaxMilliseconds = Annotated[
    float, Field(gt=0, allow_inf_nan=False, description="Most milliseconds a picture may take, whoever is champion.")
]
MaxSlowdown = Annotated[
    float,
    Field(
        ge=0,
        le=10,
        description="By which share a candidate may be slower than the champion; 0: not at all, which for one network "
        "is a matter of noise.",
    ),
]
ParityTolerance = Annotated[
    float,
    Field(gt=0, lt=1, description="Largest difference between PyTorch and ONNX: of scores, and of boxes by the size."),
]


class DetectorTerms(BaseModel):
    """What decides what a training of a detector computes, but its pictures."""

    model_config = ConfigDict(frozen=True, extra="forbid", protected_namespaces=())

    network: Network = "yolo11n.yaml"
    epochs: Epochs = 100
    batch_size: PicturesAtOnce = 16
    image_size: ImageSize = 640
    patience: Patience = 100
    num_workers: NumWorkers = 2
    seed: Seed = 0


class _Named(BaseModel):
    model_name: ModelName


class DetectorSettings(DetectorTerms, _Named):  # pydantic lists the fields of the last base first
    """The same, and the model that it becomes."""


class DetectorCriteria(BaseModel):
    """What gate 1 judges a detector by: mAP50-95, where more is better, and milliseconds, where less is."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    min_map: MinMap = 0.3
    min_map_improvement: MinMapImprovement = 0.005
    max_milliseconds: MaxMilliseconds = 500.0
    max_slowdown: MaxSlowdown = 0.1


class DetectorDefaults(DetectorCriteria, DetectorTerms):
    """What the form of train-yolo is filled with."""
