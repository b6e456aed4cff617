"""What the steps of a detector's training led to, told without torch and Pillow, which only those steps need."""

from pydantic import BaseModel, ConfigDict, Field

EXPORT_FOLDER = "onnx"  # of the training's MLflow run


class CheckedDataset(BaseModel):
    """A dataset that was found to be sound, and by which content."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    root: str
    classes: tuple[str, ...]
    pictures: tuple[str, ...] = Field(description="Paths below images/, sorted.")
    objects: dict[str, int] = Field(description="How many objects of each class are labelled.")
    backgrounds: int = Field(description="Pictures of nothing.")
    digest: str = Field(description="SHA-256 of classes, pictures and labels.")


class DatasetSplit(BaseModel):
    """Which pictures are in which part, each a path below images/ and in one part only."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    root: str
    classes: tuple[str, ...]
    digest: str
    seed: int
    train: tuple[str, ...]
    validation: tuple[str, ...]
    test: tuple[str, ...]

    @property
    def pictures(self) -> tuple[str, ...]:
        """All pictures, sorted, as the dataset has them."""
        return tuple(sorted(self.train + self.validation + self.test))


class TrainedDetector(BaseModel):
    """A training's MLflow run, which holds the weights of the best epoch, and what those weights are."""

    model_config = ConfigDict(frozen=True, extra="forbid", protected_namespaces=())

    model_name: str
    run_id: str
    weights_sha256: str
    image_size: int
    best_epoch: int
    validation_map50_95: float


class ExportedDetector(BaseModel):
    """An ONNX file with its golden samples, in folder `onnx` of its training's MLflow run, not registered yet."""

    model_config = ConfigDict(frozen=True, extra="forbid", protected_namespaces=())

    model_name: str
    run_id: str
    image_size: int
    sha256: str
    golden_sha256: str
    agreement: str
    max_diff: float

    @property
    def onnx_name(self) -> str:
        """The name that it is registered under."""
        return f"{self.model_name}-onnx"
