"""From decoded images to what a step learns from: pixels from 0 to 1, cropped at random, where the images lie.

All of it, its random numbers included, is computed on the images' own device and in the precision of the training.
"""

import torch
from torch import Tensor
from torch.nn import functional

from slipway.learning.precision import FULL

SMALLEST_CROP = 0.35  # of an image's area


def prepare(images: Tensor, size: tuple[int, int], precision: torch.dtype, *, augmented: bool) -> Tensor:
    """Return uint8 images (n, 3, height, width) as pixels at `size`, cropped at random where they are augmented."""
    pixels = scale(images, precision)
    if augmented:
        pixels = crop_randomly(pixels, size)
    elif pixels.shape[2:] != size:
        pixels = functional.interpolate(pixels, size, mode="bilinear")
    return lay_out(pixels)


def scale(images: Tensor, precision: torch.dtype) -> Tensor:
    """Return uint8 images as pixels from 0 to 1."""
    return images.to(precision).div_(255)


def lay_out(pixels: Tensor) -> Tensor:
    """Return pixels in the order in which the kernels for their precision take them: halves with channels last."""
    return pixels if pixels.dtype == FULL else pixels.contiguous(memory_format=torch.channels_last)


def crop_randomly(images: Tensor, size: tuple[int, int]) -> Tensor:
    """Return one random crop (35 to 100 % of the area) of each image, half of them mirrored, at `size`.

    One sampling pass cuts the whole batch. Its grid is as precise as the images: in bfloat16 a place near the edge of
    160 pixels is meant to a third of a pixel.
    """
    count, device = len(images), images.device
    scales = torch.empty(count, device=device).uniform_(SMALLEST_CROP, 1).sqrt()
    mirror = torch.randint(0, 2, (count,), device=device) * 2 - 1
    theta = torch.zeros(count, 2, 3, device=device)
    theta[:, 0, 0], theta[:, 1, 1] = scales * mirror, scales
    theta[:, :, 2] = (torch.rand(count, 2, device=device) * 2 - 1) * (1 - scales).unsqueeze(1)
    grid = functional.affine_grid(theta, [count, 3, *size], align_corners=False).to(images.dtype)
    return functional.grid_sample(images, grid, padding_mode="reflection", align_corners=False)
