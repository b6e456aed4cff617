"""Sample inputs and outputs as numpy archives without pickles.

A training run keeps a few validation images (`samples.npz`), so that later steps need no dataset; a validated
ONNX version carries its golden samples (`golden.npz`): inputs and what PyTorch computes for them.
"""

from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from blocks.errors import UnusableModel

INPUT = "input"
OUTPUT = "output"


def write_samples(path: Path, images: NDArray[np.uint8], labels: NDArray[np.int64]) -> None:
    """Write images (n, 3, height, width) and labels (n,) of the validation data."""
    np.savez_compressed(path, images=images, labels=labels)


def read_samples(path: Path) -> NDArray[np.uint8]:
    """Return the images of an archive; `UnusableModel` if it is none or holds pickles."""
    return np.asarray(_read_arrays(path, "images")["images"], dtype=np.uint8)


def write_golden(
    path: Path, inputs: NDArray[np.float32], pytorch: NDArray[np.float32], onnxruntime: NDArray[np.float32]
) -> None:
    """Write golden samples: `input/<tensor>`, `output/<tensor>` as PyTorch gave it, `onnxruntime/<tensor>`.

    The first axis of each counts the samples.
    """
    arrays: dict[str, Any] = {
        f"input/{INPUT}": inputs,
        f"output/{OUTPUT}": pytorch,
        f"onnxruntime/{OUTPUT}": onnxruntime,
    }
    np.savez_compressed(path, **arrays)


def make_input(images: NDArray[np.uint8]) -> NDArray[np.float32]:
    """Return images as a model takes them: float32 from 0 to 1, same shape."""
    return images.astype(np.float32) / np.float32(255)


def draw_inputs(shape: tuple[int, ...], seed: int) -> NDArray[np.float32]:
    """Return uniformly random pixels from 0 to 1 of a shape, the same for the same seed."""
    return np.random.default_rng(seed).random(shape, dtype=np.float32)


def _read_arrays(path: Path, *names: str) -> dict[str, NDArray[np.generic]]:
    try:
        with np.load(path, allow_pickle=False) as archive:
            return {name: archive[name] for name in names}
    except (OSError, ValueError, KeyError) as error:
        raise UnusableModel(f"{path.name}: not an archive of {list(names)} without pickles ({error})") from error
