"""Pictures that a detector learns from: whether they can be, and how a network sees them."""

from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageOps

SUFFIXES = frozenset({".bmp", ".jpeg", ".jpg", ".png", ".tif", ".tiff", ".webp"})
_LEAST_SIDE = 10  # pixels; ultralytics leaves smaller ones out
_JPEG_END = b"\xff\xd9"
_GREY = (114, 114, 114)


def find_picture_fault(path: Path) -> str:
    """Return why a picture cannot be learned from, or nothing.

    A JPEG that is cut off counts: ultralytics would write it anew, in its owner's place.
    """
    try:
        with Image.open(path) as image:
            size, kind = image.size, image.format
            image.verify()
        if kind == "JPEG" and path.read_bytes()[-2:] != _JPEG_END:
            return "is cut off: a JPEG ends with FFD9"
    except (OSError, SyntaxError, ValueError, Image.DecompressionBombError) as error:
        return f"cannot be decoded ({type(error).__name__})"
    return f"is {size[0]} by {size[1]} pixels, expected {_LEAST_SIDE} a side" if min(size) < _LEAST_SIDE else ""


def read_pictures(paths: list[Path], size: int) -> NDArray[np.float32]:
    """Return pictures as the network sees them: (n, 3, size, size) float32 from 0 to 1, whole, grey beside them."""
    return np.stack([_read_picture(path, size) for path in paths])


def _read_picture(path: Path, size: int) -> NDArray[np.float32]:
    with Image.open(path) as image:
        upright = ImageOps.exif_transpose(image).convert("RGB")
        fitted = ImageOps.pad(upright, (size, size), Image.Resampling.BILINEAR, color=_GREY)
    return np.asarray(fitted, dtype=np.float32).transpose(2, 0, 1) / np.float32(255)
