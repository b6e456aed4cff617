"""The types of the training flow's parameters: what each means, its bounds and what it may be.

Free of torch, so that a configuration file or a form can be checked where no training can run.
"""

import re
from pathlib import Path
from typing import Annotated, Literal

from pydantic import AfterValidator, BaseModel, BeforeValidator, ConfigDict, Field, ValidationError

from blocks.errors import InvalidInput
from blocks.names import ModelName
from slipway.learning.served_precision import AskedPrecision

BUILT_IN_DATASETS = ("digits", "imagenette")
IN_S3 = re.compile(r"s3://(?P<bucket>[a-z0-9][a-z0-9.-]{1,61}[a-z0-9])(?:/(?P<prefix>[^/].*?))?/?")
IMAGENET = "imagenet"  # torchvision's weights
IN_REGISTRY = re.compile(r"models:/(?P<name>[^/@]+)(?:/(?P<version>[1-9][0-9]*)|@(?P<alias>[A-Za-z][A-Za-z0-9_-]*))")
# A protobuf message, which a single ONNX file is, must stay below 2 GiB; the graph needs a little of that.
SINGLE_FILE_LIMIT_BYTES = 2_000_000_000
_SAID = {True: IMAGENET, "true": IMAGENET, False: None, "false": None, "": None}


def _check_dataset(dataset: str) -> str:
    if dataset in BUILT_IN_DATASETS or IN_S3.fullmatch(dataset) or Path(dataset).is_dir():
        return dataset
    raise ValueError(
        f"dataset {dataset!r}: expected {' or '.join(BUILT_IN_DATASETS)}, or the path of an existing directory or "
        "s3://bucket/prefix of images laid out as train/<class>/ and val/<class>/"
    )


def _read_pretrained(given: object) -> object:
    """Return what the reference's configuration says with true and false as the weights it means."""
    known = given.lower() if isinstance(given, str) else given
    return _SAID[known] if isinstance(known, bool | str) and known in _SAID else given


def _check_pretrained(weights: str | None) -> str | None:
    if weights is None or weights == IMAGENET or IN_REGISTRY.fullmatch(weights) or Path(weights).is_file():
        return weights
    raise ValueError(
        f"pretrained {weights!r}: expected {IMAGENET}, models:/NAME/VERSION, models:/NAME@ALIAS, or the path of an "
        "existing file that holds a state dict of ResNet18 (.pth)"
    )


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
    Field(description="Training data: digits (no network needed), imagenette, a path with train/ and val/, or s3://…."),
]
Epochs = Annotated[int, Field(ge=1, le=10_000, description="Passes over the training images.")]
LearningRate = Annotated[float, Field(gt=0, le=10, description="Peak learning rate of the one-cycle schedule.")]
BatchSize = Annotated[int, Field(ge=2, le=65_536, description="Images in one optimiser step.")]
NumWorkers = Annotated[int, Field(ge=0, le=256, description="Threads that decode images from files.")]
DecodingThreads = Annotated[
    NumWorkers | None,
    Field(description="Threads that decode images from files; as many as there are cores where left out."),
]
InputShape = Annotated[
    list[int],
    AfterValidator(_check_input_shape),
    Field(min_length=4, max_length=4, description="Shape of one input: [1, 3, height, width]."),
]
Pretrained = Annotated[
    str | None,
    BeforeValidator(_read_pretrained),
    AfterValidator(_check_pretrained),
    Field(
        description="Weights to begin with: imagenet (torchvision's), models:/NAME/VERSION or models:/NAME@ALIAS, or a "
        "file (.pth) with a state dict; random ones where left out."
    ),
]
FrozenLayers = Annotated[
    int,
    Field(
        ge=0,
        le=5,
        description="How many of the network's stages keep the weights they begin with: the stem, then layer1 to "
        "layer4.",
    ),
]
Optimizer = Annotated[Literal["adamw", "adam", "sgd"], Field(description="What changes the weights after each batch.")]
RecipeName = Annotated[
    Literal["plain", "imagenette-5", "imagenette-20", "imagenette-80"],
    Field(
        description="What decides epochs, learning rate, optimiser and input shape where they are left out, and the "
        "tricks of the field that are used; the number is that of the epochs, plain is made for digits."
    ),
]
Compile = Annotated[
    Literal["auto", "always", "never"],
    Field(
        description="Whether the network is compiled first, which takes a minute; auto: on a GPU, where epochs times "
        "images win it back."
    ),
]
Deterministic = Annotated[
    bool, Field(description="Whether the same seed on the same card comes to the same weights; costs next to nothing.")
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
    """How much gate 2 compares, by how much the outputs may differ, and which precision is registered."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    validation_tolerance: ValidationTolerance
    validation_samples: ValidationSamples
    precision: AskedPrecision = "fp32"


class TrainingSettings(BaseModel):
    """Everything that is asked of a training run, checked; None is left to its recipe, or to the machine."""

    model_config = ConfigDict(frozen=True, extra="forbid", protected_namespaces=())

    model_name: ModelName
    dataset: Dataset
    recipe: RecipeName = "plain"
    epochs: Annotated[
        Epochs | None, Field(description="Passes over the training images; as the recipe says where left out.")
    ] = None
    learning_rate: Annotated[
        LearningRate | None,
        Field(description="Peak learning rate of the one-cycle schedule; as the recipe says where left out."),
    ] = None
    batch_size: Annotated[
        BatchSize | None,
        Field(description="Images in one optimiser step; by the card's memory where left out, 64 without a card."),
    ] = None
    num_workers: DecodingThreads = None
    input_shape: Annotated[
        InputShape | None,
        Field(description="Shape of one input: [1, 3, height, width]; as the recipe says where left out."),
    ] = None
    seed: Seed
    pretrained: Pretrained = None
    frozen_layers: FrozenLayers = 0
    optimizer: Annotated[
        Optimizer | None,
        Field(description="What changes the weights after each batch; as the recipe says where left out."),
    ] = None
    compile: Compile = "auto"
    deterministic: Deterministic = True

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
