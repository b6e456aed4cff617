"""The dataset that a registered version learned from, loaded again as its run recorded it."""

from blocks.errors import InvalidInput
from blocks.labels import DATASET_PARAM, INPUT_SHAPE_PARAM, VALIDATION_DIGEST_PARAM
from blocks.registry import RegisteredVersion
from slipway.learning.datasets import ImageDataset, load_dataset


def load_recorded(version: RegisteredVersion, num_workers: int | None) -> ImageDataset:
    """Return the data that a version was trained and validated on; `InvalidInput` where it has changed since."""
    dataset, digest = version.params.get(DATASET_PARAM, ""), version.params.get(VALIDATION_DIGEST_PARAM)
    images = load_dataset(dataset, read_input_shape(version), num_workers)
    if images.validation_digest != digest:
        raise InvalidInput(
            f"dataset {dataset}: its validation images have digest {images.validation_digest}, but version "
            f"{version.version} was validated on {digest}; they have changed since: train again"
        )
    return images


def read_input_shape(version: RegisteredVersion) -> list[int]:
    """Return [1, 3, height, width] as a version's run recorded it."""
    return [int(size) for size in version.params.get(INPUT_SHAPE_PARAM, "").split(",")]
