"""Folders of images, <split>/<class>/<file>: decoded once into an array on disk, read from there ever after."""

import hashlib
import json
import shutil
import tempfile
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageOps, UnidentifiedImageError

from blocks.cores import count_cores
from blocks.errors import InvalidInput

EXTENSIONS = frozenset({".bmp", ".jpeg", ".jpg", ".png", ".webp"})


def list_classes(root: Path) -> tuple[str, ...]:
    """Return the sorted class names, which train/ and val/ have to share; `InvalidInput` where they do not."""
    train, validation = (_list_folders(root / split) for split in ("train", "val"))
    if len(train) < 2 or train != validation:
        raise InvalidInput(
            f"dataset {root}: train/ has the class folders {list(train)}, val/ has {list(validation)}; "
            "expected the same two or more in both"
        )
    return train


def decode(
    directory: Path, classes: tuple[str, ...], size: tuple[int, int], cache: Path, num_workers: int | None
) -> tuple[NDArray[np.uint8], NDArray[np.int64]]:
    """Return the images of a split, (n, 3, height, width) uint8, filled and centred, and labels (n,) int64.

    The images are memory-mapped from `cache`, under a name made of the files' names, sizes and times: a
    changed folder is decoded anew, by `num_workers` threads or as many as there are cores.
    """
    files = _list_images(directory, classes)
    entry = cache / _make_key(directory, files, size)
    if not entry.exists():
        _decode_into(entry, files, size, num_workers)
    return np.load(entry / "images.npy", mmap_mode="r"), np.array([label for _, label in files], dtype=np.int64)


def _list_folders(directory: Path) -> tuple[str, ...]:
    if not directory.is_dir():
        raise InvalidInput(f"dataset {directory.parent}: no folder {directory.name}/; expected train/ and val/")
    return tuple(sorted(entry.name for entry in directory.iterdir() if entry.is_dir()))


def _list_images(directory: Path, classes: tuple[str, ...]) -> list[tuple[Path, int]]:
    files = [
        (file, label)
        for label, name in enumerate(classes)
        for file in sorted((directory / name).rglob("*"))
        if file.suffix.lower() in EXTENSIONS
    ]
    empty = [name for label, name in enumerate(classes) if label not in {found for _, found in files}]
    if empty:
        raise InvalidInput(f"dataset {directory}: no images in {empty}; expected {sorted(EXTENSIONS)} in every class")
    return files


def _make_key(directory: Path, files: list[tuple[Path, int]], size: tuple[int, int]) -> str:
    facts = [(str(file.relative_to(directory)), file.stat().st_size, file.stat().st_mtime_ns) for file, _ in files]
    return hashlib.sha256(json.dumps([str(directory.resolve()), size, facts]).encode()).hexdigest()[:32]


def _decode_into(entry: Path, files: list[tuple[Path, int]], size: tuple[int, int], num_workers: int | None) -> None:
    entry.parent.mkdir(parents=True, exist_ok=True)
    unfinished = Path(tempfile.mkdtemp(dir=entry.parent))
    try:
        shape = (len(files), 3, *size)
        images = np.lib.format.open_memmap(unfinished / "images.npy", mode="w+", dtype=np.uint8, shape=shape)

        def decode_one(index: int) -> None:
            images[index] = _read_pixels(files[index][0], size)

        with ThreadPoolExecutor(count_cores() if num_workers is None else max(1, num_workers)) as pool:
            for _ in pool.map(decode_one, range(len(files))):
                pass  # raises what a thread did
        images.flush()
        # A run beside this one may have been faster; its entry is the same, so either may stay.
        if not entry.exists():
            unfinished.rename(entry)
    finally:
        shutil.rmtree(unfinished, ignore_errors=True)


def _read_pixels(file: Path, size: tuple[int, int]) -> NDArray[np.uint8]:
    height, width = size
    try:
        with Image.open(file) as image:
            fitted = ImageOps.fit(image.convert("RGB"), (width, height), Image.Resampling.BILINEAR)
    except (UnidentifiedImageError, OSError) as error:
        raise InvalidInput(f"image {file}: cannot be decoded ({error}); replace or remove it") from error
    return np.asarray(fitted, dtype=np.uint8).transpose(2, 0, 1)
