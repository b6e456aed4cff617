"""A dataset in three parts: 0.7 to learn from, 0.2 to choose the best epoch by, 0.1 that gate 1 alone sees.

The parts are lists of names. A training sees them as links: nothing is copied, and what ultralytics writes beside
pictures and labels goes with the links.
"""

from hashlib import sha256
from pathlib import Path, PurePosixPath
from typing import NamedTuple

import yaml

from blocks.errors import InvalidInput
from blocks.run import say
from slipway.learning.yolo.dataset import (
    DESCRIPTION,
    IMAGES,
    LABEL_SUFFIX,
    LABELS,
    LEAST_PICTURES,
    compute_digest,
    name_label,
)
from slipway.learning.yolo.results import CheckedDataset, DatasetSplit


class Sizes(NamedTuple):
    """How many pictures a part has."""

    train: int
    validation: int
    test: int


def split_dataset(dataset: CheckedDataset, seed: int) -> DatasetSplit:
    """Deal the pictures out, the same for the same names and seed, whatever order they were found in.

    A picture's place hangs on its own name, so that a dataset that grows moves few from one part to another.
    """
    sizes = compute_sizes(len(dataset.pictures))
    dealt = sorted(dataset.pictures, key=lambda name: sha256(f"{seed}/{name}".encode()).digest())
    split = DatasetSplit(
        root=dataset.root,
        classes=dataset.classes,
        digest=dataset.digest,
        seed=seed,
        train=tuple(dealt[: sizes.train]),
        validation=tuple(dealt[sizes.train : sizes.train + sizes.validation]),
        test=tuple(dealt[sizes.train + sizes.validation :]),
    )
    parts = f"{sizes.train} pictures to learn from, {sizes.validation} to choose by, {sizes.test} to judge by"
    say(f"dataset {dataset.root}: {parts}")
    return split


def compute_sizes(pictures: int) -> Sizes:
    """Return the sizes of the parts of 0.7, 0.2 and 0.1, rounded; `InvalidInput` where one would be empty."""
    if pictures < LEAST_PICTURES:
        raise InvalidInput(f"{pictures} pictures: expected {LEAST_PICTURES} or more, so that each part has one")
    validation, test = (2 * pictures + 5) // 10, (pictures + 5) // 10
    return Sizes(pictures - validation - test, validation, test)


def lay_out(split: DatasetSplit, into: Path) -> Path:
    """Write a split as ultralytics reads it, in links, and return its data.yaml.

    Raises `InvalidInput` where pictures or labels are no longer those that were checked.
    """
    root = Path(split.root)
    if compute_digest(root, split.pictures, split.classes) != split.digest:
        raise InvalidInput(f"dataset {root}: its files have changed since they were checked; start again")
    for part, names in (("train", split.train), ("val", split.validation), ("test", split.test)):
        for folder in (IMAGES, LABELS):
            (into / part / folder).mkdir(parents=True)
        for number, name in enumerate(names):
            suffix = PurePosixPath(name).suffix.lower()
            (into / part / IMAGES / f"{number:07}{suffix}").symlink_to(root / IMAGES / name)
            (into / part / LABELS / f"{number:07}{LABEL_SUFFIX}").symlink_to(root / LABELS / name_label(name))
    parts = {part: f"{part}/{IMAGES}" for part in ("train", "val", "test")}
    described = {"path": str(into.absolute()), **parts, "names": dict(enumerate(split.classes))}
    (into / DESCRIPTION).write_text(yaml.safe_dump(described, allow_unicode=True), encoding="utf-8")
    return into / DESCRIPTION
