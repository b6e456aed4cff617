"""The images to learn from."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any
from urllib.error import URLError

import numpy as np
import pytest
from PIL import Image
from prefect.settings import PREFECT_API_URL, temporary_settings

from blocks.errors import InvalidInput, ServiceUnavailable
from slipway.learning import datasets, image_folder
from slipway.learning.datasets import load_dataset
from slipway.learning.fitting import Fitting
from slipway.learning.planning import Plan
from slipway.learning.recipes import Recipe
from slipway.learning.reproducing import seeded
from tests.apparatus.networks import SmallNetwork
from tests.apparatus.stores import repository_in_memory

SHAPE = [1, 3, 32, 48]


@pytest.fixture(autouse=True)
def _own_data_directory(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(datasets.DATA_DIRECTORY, str(tmp_path / "data"))


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Two classes, red and blue, of 6 training and 3 validation images of several sizes."""
    root = tmp_path / "images"
    for split, count in (("train", 6), ("val", 3)):
        for name, colour in (("blue", (0, 0, 255)), ("red", (255, 0, 0))):
            (root / split / name).mkdir(parents=True)
            for index in range(count):
                Image.new("RGB", (40 + 10 * index, 50), colour).save(root / split / name / f"{index}.png")
    return root


def test_digits_are_real_scans_of_the_asked_size_split_once_and_for_all() -> None:
    digits = load_dataset("digits", [1, 3, 32, 32], 0)

    assert digits.train.images.shape == (1437, 3, 32, 32) and digits.validation.images.shape == (360, 3, 32, 32)
    assert digits.train.images.dtype == np.uint8 and digits.train.images.max() == 255
    assert digits.classes == tuple("0123456789")
    assert np.bincount(digits.validation.labels).min() >= 34


def test_the_same_data_has_the_same_digest_and_other_data_another() -> None:
    first, again, larger = (load_dataset("digits", [1, 3, size, size], 0) for size in (32, 32, 40))

    assert first.validation_digest == again.validation_digest
    assert len({first.validation_digest, first.training_digest, larger.validation_digest}) == 3
    assert len(first.validation_digest) <= 36


def test_a_folder_of_images_becomes_arrays_of_one_size(folder: Path) -> None:
    images = load_dataset(str(folder), SHAPE, 2)

    assert images.classes == ("blue", "red")
    assert images.validation.images.shape == (6, 3, 32, 48)
    assert images.train.images.shape == (12, 3, 37, 55), "room for random crops"
    assert images.validation.labels.tolist() == [0, 0, 0, 1, 1, 1]
    assert images.validation.images[0, :, 0, 0].tolist() == [0, 0, 255]


def test_a_folder_is_decoded_once_until_it_changes(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    first = load_dataset(str(folder), SHAPE, 2)
    decoded: list[Path] = []

    def counted(file: Path) -> Image.Image:
        decoded.append(file)
        return open_image(file)

    open_image = Image.open
    monkeypatch.setattr(Image, "open", counted)

    unchanged = load_dataset(str(folder), SHAPE, 2)
    assert decoded == [] and unchanged.validation_digest == first.validation_digest

    Image.new("RGB", (64, 64), (255, 255, 255)).save(folder / "val" / "red" / "0.png")
    changed = load_dataset(str(folder), SHAPE, 2)
    assert len(decoded) == 6 and changed.validation_digest != first.validation_digest


@pytest.mark.parametrize("threads", [0, 3, None])
def test_however_many_threads_decode_a_folder_each_image_is_in_its_place(
    folder: Path, tmp_path: Path, threads: int | None
) -> None:
    for shade, file in enumerate(sorted((folder / "train").rglob("*.png"))):
        Image.new("RGB", (64, 64), (10 * shade, 0, 0)).save(file)

    images, labels = image_folder.decode(folder / "train", ("blue", "red"), (32, 48), tmp_path / "cache", threads)

    assert images[:, 0, 0, 0].tolist() == [10 * shade for shade in range(12)]
    assert labels.tolist() == [0] * 6 + [1] * 6


def test_a_folder_without_validation_images_is_refused(folder: Path) -> None:
    (folder / "val").rename(folder / "test")

    with pytest.raises(InvalidInput, match=r"no folder val/; expected train/ and val/"):
        load_dataset(str(folder), SHAPE, 2)


def test_a_folder_whose_halves_have_other_classes_is_refused(folder: Path) -> None:
    (folder / "val" / "red").rename(folder / "val" / "green")

    with pytest.raises(InvalidInput, match=r"\['blue', 'red'\].*\['blue', 'green'\]"):
        load_dataset(str(folder), SHAPE, 2)


def test_a_class_without_images_is_refused_by_name(folder: Path) -> None:
    for file in (folder / "train" / "red").iterdir():
        file.unlink()

    with pytest.raises(InvalidInput, match=r"no images in \['red'\]"):
        load_dataset(str(folder), SHAPE, 2)


def test_a_broken_image_is_named_and_leaves_nothing_half_decoded(folder: Path, tmp_path: Path) -> None:
    broken = folder / "train" / "red" / "3.png"
    broken.write_bytes(broken.read_bytes()[:40])

    with pytest.raises(InvalidInput, match=r"red/3\.png"):
        load_dataset(str(folder), SHAPE, 2)

    assert list((tmp_path / "data" / "decoded").iterdir()) == []


def test_imagenette_is_read_from_where_torchvision_puts_it_under_its_classes_english_names(tmp_path: Path) -> None:
    for split in ("train", "val"):
        for number, wnid in enumerate(("n01440764", "n02102040")):
            folder = tmp_path / "data" / "imagenette2-320" / split / wnid
            folder.mkdir(parents=True)
            Image.new("RGB", (60, 50), (100 * number, 0, 0)).save(folder / "0.jpeg")

    imagenette = load_dataset("imagenette", [1, 3, 64, 64], 2)

    assert imagenette.classes == ("tench", "English springer")
    assert imagenette.validation.images.shape == (2, 3, 64, 64)
    assert imagenette.augmented


def test_imagenette_that_cannot_be_downloaded_says_what_else_to_do(monkeypatch: pytest.MonkeyPatch) -> None:
    def unreachable(*_: object, **__: object) -> None:
        raise URLError("no route to host")

    monkeypatch.setattr("torchvision.datasets.imagenette.download_and_extract_archive", unreachable)

    with pytest.raises(ServiceUnavailable, match=r"no route to host.*give the path of a copy"):
        load_dataset("imagenette", [1, 3, 64, 64], 2)


def test_a_network_trains_on_a_folder_with_crops_and_flips(folder: Path) -> None:
    images = load_dataset(str(folder), SHAPE, 2)

    with seeded(0):
        history = list(
            Fitting(SmallNetwork(2), images, Plan(Recipe(epochs=8, learning_rate=0.05), batch_size=6)).train_epochs()
        )

    assert history[-1].best_val_accuracy == 1.0, "red and blue are easily told apart"


@pytest.fixture
def in_s3(folder: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Any]:
    """The folder in a store of this process, which variables say the place of; yields a client of it."""
    monkeypatch.delenv("SLIPWAY_S3_ENDPOINT_URL", raising=False)
    with repository_in_memory() as repository, temporary_settings(restore_defaults={PREFECT_API_URL}):
        client = repository.store.client
        monkeypatch.setenv("AWS_ENDPOINT_URL_S3", client.meta.endpoint_url)
        monkeypatch.setenv("AWS_ACCESS_KEY_ID", "slipway")
        monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "slipway")
        for path in folder.rglob("*.png"):
            client.upload_file(str(path), "test-bucket", f"data/colours/{path.relative_to(folder)}")
        yield client


def test_a_folder_in_s3_is_the_same_data_as_one_here_and_is_brought_once(
    folder: Path, in_s3: Any, tmp_path: Path
) -> None:
    here = load_dataset(str(folder), SHAPE, 0)
    there = load_dataset("s3://test-bucket/data/colours", SHAPE, 0)
    brought = {path: path.stat().st_mtime_ns for path in (tmp_path / "data" / "s3").rglob("*.png")}
    load_dataset("s3://test-bucket/data/colours/", SHAPE, 0)

    assert (there.name, there.source) == ("colours", "s3://test-bucket/data/colours")
    assert (there.validation_digest, there.training_digest) == (here.validation_digest, here.training_digest)
    assert {path: path.stat().st_mtime_ns for path in (tmp_path / "data" / "s3").rglob("*.png")} == brought
    [kept] = (tmp_path / "data" / "s3" / "test-bucket").iterdir()
    assert kept.stat().st_mode & 0o077 == 0


def test_what_was_changed_in_s3_is_brought_anew(folder: Path, in_s3: Any) -> None:
    before = load_dataset("s3://test-bucket/data/colours", SHAPE, 0)
    in_s3.upload_file(str(folder / "val" / "red" / "0.png"), "test-bucket", "data/colours/val/blue/0.png")

    after = load_dataset("s3://test-bucket/data/colours", SHAPE, 0)

    assert after.validation_digest != before.validation_digest
    assert after.training_digest == before.training_digest


@pytest.mark.parametrize("dataset", ["s3://test-bucket/nothing", "s3://test-bucket"])
def test_a_prefix_without_images_is_refused(in_s3: Any, dataset: str) -> None:
    with pytest.raises(InvalidInput, match="has no images below train/ and val/"):
        load_dataset(dataset, SHAPE, 0)


def test_a_key_that_would_leave_its_directory_is_refused(in_s3: Any) -> None:
    in_s3.put_object(Bucket="test-bucket", Key="bad/train/red/../../../out.png", Body=b"x")

    with pytest.raises(InvalidInput, match="is no path of a file"):
        load_dataset("s3://test-bucket/bad", SHAPE, 0)
