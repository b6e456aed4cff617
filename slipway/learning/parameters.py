"""The types of the training flow's parameters: what each means, its bounds and what it may be.

Free of torch, so that a configuration file or a form can be checked where no training can run.
"""

from pathlib import Path
from typing import Annotated

from pydantic import AfterValidator, BaseModel, ConfigDict, Field, ValidationError

from blocks.errors import InvalidInput
from blocks.names import ModelName

BUILT_IN_DATASETS = ("digits", "imagenette")


def _check_dataset(dataset: str) -> str:
    if dataset not in BUILT_IN_DATASETS and not Path(dataset).is_dir():
        raise ValueError(
            f"dataset {dataset!r}: expected {' or '.join(BUILT_IN_DATASETS)}, or the path of an existing directory "
            "of images laid out as train/<class>/ and val/<class>/"
        )
    return dataset


def _check_input_shape(shape: list[int]) -> list[int]:
    batch, channels, height, width = shape
    if batch != 1 or channels != 3 or not (32 <= height <= 1024 and 32 <= width <= 1024):
        raise ValueError(
            f"input shape {shape}: expected [1, 3, height, width] with height and width from 32 to 1024; "
            "the 1 stands for the batch, which stays dynamic"
        )
    return shape


Dataset = Annotated[
    str,
    AfterValidator(_check_dataset),
    Field(description="Training data: digits (no network needed), imagenette, or a path with train/ and val/."),
]
Epochs = Annotated[int, Field(ge=1, le=10_000, description="Passes over the training images.")]
LearningRate = Annotated[float, Field(gt=0, le=10, description="Peak learning rate of the one-cycle schedule.")]
BatchSize = Annotated[int, Field(ge=2, le=65_536, description="Images in one optimiser step.")]
NumWorkers = Annotated[int, Field(ge=0, le=256, description="Threads that decode images from files.")]
InputShape = Annotated[
    list[int],
    AfterValidator(_check_input_shape),
    Field(min_length=4, max_length=4, description="Shape of one input: [1, 3, height, width]."),
]
Seed = Annotated[int, Field(ge=0, lt=2**32, description="Seed of weights, shuffling and augmentation.")]

Version = Annotated[int, Field(ge=1, description="Version of the model in the MLflow registry.")]
ExportRunId = Annotated[
    str, Field(pattern=r"^[0-9a-f]{32}$", description="MLflow run of an export-onnx step, 32 hexadecimal digits.")
]

MetricName = Annotated[
    str, Field(min_length=1, pattern=r"^[\w./ -]+$", description="MLflow metric that gate 1 judges by.")
]
GreaterIsBetter = Annotated[bool, Field(description="Whether a higher value of the metric is the better one.")]
MetricThreshold = Annotated[
    float, Field(allow_inf_nan=False, description="Value the metric has to reach, whoever is champion.")
]
MinImprovement = Annotated[
    float, Field(ge=0, allow_inf_nan=False, description="How much better than the champion a candidate must be.")
]
ValidationTolerance = Annotated[
    float, Field(gt=0, lt=1, description="Largest difference between PyTorch and ONNX that gate 2 lets pass.")
]
ValidationSamples = Annotated[
    int, Field(ge=1, le=100_000, description="Seeded random inputs that gate 2 compares, beside the real images.")
]
Deploy = Annotated[
    bool,
    Field(description="Release a validated model at once, as a subflow; else its alias 'deploy' does, by its event."),
]
TrainingDeployment = Annotated[
    str | None,
    Field(
        description="Deployment of train-candidate that trains, say train-candidate/gpu, where another pool has the "
        "GPU; this run itself where left out.",
        pattern=r"^[^/]+/[^/]+$",
    ),
]
ValidationDeployment = Annotated[
    str | None,
    Field(
        description="Deployment of validate-export that carries gate 2 out, say validate-export/gpu, where the GPU is "
        "that trained; this run itself where left out.",
        pattern=r"^[^/]+/[^/]+$",
    ),
]


class ValidationTerms(BaseModel):
    """How much gate 2 compares, and by how much the outputs may differ."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    validation_tolerance: ValidationTolerance
    validation_samples: ValidationSamples


class TrainingSettings(BaseModel):
    """Everything that decides what a training run computes, checked."""

    model_config = ConfigDict(frozen=True, extra="forbid", protected_namespaces=())

    model_name: ModelName
    dataset: Dataset
    epochs: Epochs
    learning_rate: LearningRate
    batch_size: BatchSize
    num_workers: NumWorkers
    input_shape: InputShape
    seed: Seed

    @classmethod
    def check(cls, **values: object) -> "TrainingSettings":
        """Return the settings, or raise `InvalidInput` naming every value that cannot be used."""
        try:
            return cls.model_validate(values)
        except ValidationError as error:
            raise InvalidInput(explain(error)) from error


def explain(error: ValidationError) -> str:
    """Return pydantic's findings as one sentence: parameter, value and what was expected."""
    return "; ".join(
        f"{'.'.join(str(part) for part in found['loc'])} = {found['input']!r}: {found['msg']}"
        for found in error.errors()
    )
