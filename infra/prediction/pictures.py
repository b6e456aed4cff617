"""Pictures, from a file to the tensor a model takes, and boxes from the model's pixels back onto the picture.

Letterboxing keeps the proportions: the picture is scaled to fit, and grey fills what is left, as YOLO is trained.
"""

from collections.abc import Sequence
from enum import StrEnum
from pathlib import Path
from typing import NamedTuple

import numpy as np
from PIL import Image, ImageDraw, ImageFont, ImageOps, UnidentifiedImageError

from blocks.errors import InvalidInput, bounded
from infra.prediction.served import FREE, Tensor

SUFFIXES = frozenset({".jpg", ".jpeg", ".png", ".bmp", ".webp", ".tif", ".tiff", ".gif"})
_GREY = (114, 114, 114)
_CHANNELS = 3
_COLOURS = (
    "#e6194b",
    "#3cb44b",
    "#4363d8",
    "#f58231",
    "#911eb4",
    "#008080",
    "#9a6324",
    "#800000",
    "#808000",
    "#000075",
)
_FLOATS = {"FP16": np.float16, "FP32": np.float32, "FP64": np.float64}


class Fit(StrEnum):
    """How a picture gets the size that a model takes."""

    LETTERBOX = "letterbox"  # whole, in its proportions, grey beside it
    CROP = "crop"  # in its proportions, its middle
    STRETCH = "stretch"  # whole, out of proportion


class Placement(NamedTuple):
    """Where a picture lies in what the model sees: x and y times the scales, plus the offsets."""

    scale_x: float
    scale_y: float
    left: float
    top: float

    def restore(self, boxes: np.ndarray, width: int, height: int) -> np.ndarray:
        """Return boxes [n, 4] (left, top, right, bottom) in the picture's own pixels, cut at its edges."""
        restored = (boxes - [self.left, self.top] * 2) / ([self.scale_x, self.scale_y] * 2)
        return np.clip(restored, 0, [width, height] * 2)


class Layout(NamedTuple):
    """What a model takes as a picture: its size, where the channels are, and how many axes stand before them."""

    height: int
    width: int
    channels_first: bool
    batched: bool


def open_picture(path: Path) -> Image.Image:
    """Return a picture in RGB, turned as its camera was held; `InvalidInput` where the file is none."""
    try:
        with Image.open(path) as picture:
            return ImageOps.exif_transpose(picture).convert("RGB")
    except (UnidentifiedImageError, OSError, ValueError, SyntaxError, Image.DecompressionBombError) as error:
        raise InvalidInput(
            f"picture {path}: {bounded(error, 300)}; expected a JPEG, PNG or another picture that can be read"
        ) from error


def find_layout(tensor: Tensor, size: tuple[int, int] | None = None) -> Layout:
    """Return what a model takes as a picture.

    Args:
        tensor: its input, [3, height, width] or [height, width, 3], with an axis of pictures before it or without.
        size: height and width to use where the model takes any.

    Raises:
        InvalidInput: it takes no picture, or any size and none is given, or another size than the given one.
    """
    shape = tensor.shape[-_CHANNELS:]
    first = len(shape) == _CHANNELS and shape[0] == _CHANNELS
    if len(tensor.shape) not in {3, 4} or not (first or shape[-1] == _CHANNELS):
        raise InvalidInput(
            f"input '{tensor.name}' is {tensor.datatype} {list(tensor.shape)}, expected a picture, [3, height, width] "
            "or [height, width, 3]; send a request as JSON"
        )
    free = shape[1:] if first else shape[:2]
    if size is None and FREE in free:
        raise InvalidInput(f"input '{tensor.name}' takes pictures of any size; say which: --size 640x640")
    chosen = size or (free[0], free[1])
    if any(axis not in (FREE, given) for axis, given in zip(free, chosen, strict=True)):
        raise InvalidInput(f"input '{tensor.name}' takes pictures of {free[0]}x{free[1]}, not {chosen[0]}x{chosen[1]}")
    return Layout(*chosen, channels_first=first, batched=len(tensor.shape) > _CHANNELS)


def fit_picture(picture: Image.Image, layout: Layout, fit: Fit) -> tuple[Image.Image, Placement]:
    """Return a picture in the size a model takes, and where the original lies in it."""
    width, height = picture.size
    ratios = layout.width / width, layout.height / height
    if fit is Fit.STRETCH:
        return picture.resize((layout.width, layout.height), Image.Resampling.BILINEAR), Placement(*ratios, 0, 0)
    scale = min(ratios) if fit is Fit.LETTERBOX else max(ratios)
    scaled = max(1, round(width * scale)), max(1, round(height * scale))
    left, top = (layout.width - scaled[0]) // 2, (layout.height - scaled[1]) // 2
    fitted = Image.new("RGB", (layout.width, layout.height), _GREY)
    fitted.paste(picture.resize(scaled, Image.Resampling.BILINEAR), (left, top))
    return fitted, Placement(scaled[0] / width, scaled[1] / height, left, top)


def make_tensor(
    picture: Image.Image, tensor: Tensor, layout: Layout, mean: Sequence[float] = (), std: Sequence[float] = ()
) -> np.ndarray:
    """Return a picture as a model takes it: FP16 to FP64 from 0 to 1, less the mean, by the deviation; else 0 to 255.

    Shape [3, h, w] or [h, w, 3], with an axis of one picture before it where the model takes batches.
    """
    pixels = np.asarray(picture)
    if dtype := _FLOATS.get(tensor.datatype):
        values = pixels.astype(np.float32) / 255
        values = (values - np.asarray(mean or 0, np.float32)) / np.asarray(std or 1, np.float32)
        pixels = values.astype(dtype)
    elif tensor.datatype != "UINT8":
        raise InvalidInput(
            f"input '{tensor.name}' is {tensor.datatype}, expected FP32, FP16 or UINT8 for a picture; send JSON"
        )
    pixels = pixels.transpose(2, 0, 1) if layout.channels_first else pixels
    return np.ascontiguousarray(pixels[None] if layout.batched else pixels)


def draw(picture: Image.Image, boxes: np.ndarray, captions: Sequence[str], kinds: Sequence[int]) -> Image.Image:
    """Return a copy of a picture with boxes [n, 4] and their captions, each kind in a colour of its own."""
    drawn = picture.copy()
    pencil = ImageDraw.Draw(drawn)
    line = max(2, round(max(drawn.size) / 320))
    font = ImageFont.load_default(size=max(12, round(max(drawn.size) / 45)))
    for box, caption, kind in zip(boxes.tolist(), captions, kinds, strict=True):
        colour = _COLOURS[int(kind) % len(_COLOURS)]
        pencil.rectangle(box, outline=colour, width=line)
        left, top, right, bottom = pencil.textbbox((box[0], box[1]), caption, font=font)
        shift = max(0, min(box[1], bottom - top + 3 * line))  # above the box, or inside it at the picture's edge
        place = (left, top - shift, right + 2 * line, bottom - shift + line)
        pencil.rectangle(place, fill=colour)
        pencil.text((box[0] + line, box[1] - shift), caption, font=font, fill="white")
    return drawn
