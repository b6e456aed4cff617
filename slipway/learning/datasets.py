"""The images to learn from: scikit-learn's digits, Imagenette, or any folder of the same shape, here or in S3.

Every dataset becomes uint8 arrays of one size, decoded once; a training step only indexes them.
"""

import hashlib
import os
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from sklearn.datasets import load_digits
from sklearn.model_selection import train_test_split
from torch.nn import functional
from torchvision.datasets import Imagenette

from blocks.dataset_store import fetch_images
from blocks.errors import InvalidInput, ServiceUnavailable
from slipway.learning import image_folder
from slipway.learning.parameters import IN_S3

DATA_DIRECTORY = "SLIPWAY_DATA"


@dataclass(frozen=True)
class ImageSplit:
    """Images of shape (n, 3, height, width), uint8, and their class numbers of shape (n,), int64."""

    images: NDArray[np.uint8]
    labels: NDArray[np.int64]

    def __len__(self) -> int:
        return len(self.labels)


@dataclass(frozen=True)
class ImageDataset:
    """A dataset split once and for all: the validation images never depend on a run's seed."""

    name: str
    source: str
    classes: tuple[str, ...]
    train: ImageSplit
    validation: ImageSplit
    input_size: tuple[int, int]
    augmented: bool

    @cached_property
    def validation_digest(self) -> str:
        """The fingerprint of the validation images, labels and classes: two models are comparable if it is equal."""
        return _compute_digest(self.validation, self.classes)

    @cached_property
    def training_digest(self) -> str:
        """The fingerprint of the training images, labels and classes."""
        return _compute_digest(self.train, self.classes)


def load_dataset(dataset: str, input_shape: list[int], num_workers: int | None) -> ImageDataset:
    """Return a dataset at the size of `input_shape` ([1, 3, height, width]), decoded by so many threads, or all cores.

    Raises `InvalidInput` for a folder that is not laid out as train/<class>/ and val/<class>/, and
    `ServiceUnavailable` where Imagenette cannot be downloaded, or S3 does not answer.
    """
    size = (input_shape[2], input_shape[3])
    if dataset == "digits":
        return _load_digits(size)
    if dataset == "imagenette":
        return _load_imagenette(size, num_workers)
    if (named := IN_S3.fullmatch(dataset)) is not None:
        return _load_from_s3(dataset, named["bucket"], named["prefix"] or "", size, num_workers)
    return _load_folder(Path(dataset), size, num_workers)


def _load_from_s3(
    dataset: str, bucket: str, prefix: str, size: tuple[int, int], num_workers: int | None
) -> ImageDataset:
    brought = fetch_images(bucket, prefix, image_folder.EXTENSIONS, _find_data_directory() / "s3")
    found = _load_folder(brought, size, num_workers)
    return replace(found, name=prefix.rpartition("/")[2] or bucket, source=dataset)


def _load_digits(size: tuple[int, int]) -> ImageDataset:
    scans = load_digits()
    pixels = torch.from_numpy(scans.images).float().unsqueeze(1) * (255 / 16)
    enlarged = functional.interpolate(pixels, size, mode="bilinear").round().to(torch.uint8)
    images = enlarged.expand(-1, 3, -1, -1).numpy().copy()
    labels = scans.target.astype(np.int64)
    # A fixed split: were it drawn from the run's seed, no two models would be judged on the same images.
    training, validation = train_test_split(np.arange(len(labels)), test_size=0.2, stratify=labels, random_state=0)
    return ImageDataset(
        name="digits",
        source="https://archive.ics.uci.edu/dataset/80",
        classes=tuple(str(name) for name in scans.target_names),
        train=ImageSplit(images[training], labels[training]),
        validation=ImageSplit(images[validation], labels[validation]),
        input_size=size,
        augmented=False,
    )


def _load_imagenette(size: tuple[int, int], num_workers: int | None) -> ImageDataset:
    root = _find_data_directory()
    try:
        downloaded = Imagenette(root, split="train", size="320px", download=True)
    except (OSError, RuntimeError) as error:
        raise ServiceUnavailable(
            f"dataset imagenette: download into {root} failed ({error}); give the path of a copy with train/ and val/ "
            "as the dataset instead"
        ) from error
    names = {wnid: names[0] for wnid, names in zip(downloaded.wnids, downloaded.classes, strict=True)}
    found = _load_folder(root / "imagenette2-320", size, num_workers)
    return ImageDataset(
        name="imagenette",
        source="https://github.com/fastai/imagenette",
        classes=tuple(names[wnid] for wnid in found.classes),
        train=found.train,
        validation=found.validation,
        input_size=size,
        augmented=True,
    )


def _load_folder(root: Path, size: tuple[int, int], num_workers: int | None) -> ImageDataset:
    classes = image_folder.list_classes(root)
    cache = _find_data_directory() / "decoded"
    train, validation = (
        ImageSplit(*image_folder.decode(root / split, classes, _enlarge(size), cache, num_workers))
        for split in ("train", "val")
    )
    return ImageDataset(
        name=root.name,
        source=root.resolve().as_uri(),
        classes=classes,
        train=train,
        validation=ImageSplit(crop_centre(validation.images, size), validation.labels),
        input_size=size,
        augmented=True,
    )


def _enlarge(size: tuple[int, int]) -> tuple[int, int]:
    # The customary 256 pixels for a crop of 224, at every size: room for random crops.
    return round(size[0] * 8 / 7), round(size[1] * 8 / 7)


def crop_centre(images: NDArray[np.uint8], size: tuple[int, int]) -> NDArray[np.uint8]:
    """Return the middle of images (n, 3, height, width), of a size that is not larger than theirs."""
    top, left = (images.shape[2] - size[0]) // 2, (images.shape[3] - size[1]) // 2
    return images[:, :, top : top + size[0], left : left + size[1]]


def _compute_digest(split: ImageSplit, classes: tuple[str, ...]) -> str:
    # 32 characters: MLflow takes dataset digests of 36 at most.
    found = hashlib.sha256(repr((split.images.shape, classes)).encode())
    found.update(split.labels.tobytes())
    for start in range(0, len(split), 256):
        found.update(np.ascontiguousarray(split.images[start : start + 256]).data)
    return found.hexdigest()[:32]


def _find_data_directory() -> Path:
    named = os.environ.get(DATA_DIRECTORY)
    directory = Path(named) if named else Path.home() / ".cache" / "slipway"
    try:
        directory.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise InvalidInput(f"data directory {directory}: cannot be created ({error}); set {DATA_DIRECTORY}") from error
    return directory
