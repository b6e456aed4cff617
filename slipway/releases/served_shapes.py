"""The shapes in which Triton serves tensors: it knows none without an axis beside that of the batch."""

import numpy as np

from blocks.fleet import Tensors


def shape_as_served(shape: tuple[int, ...], batched: bool) -> tuple[int, ...]:
    """Return the shape a client sends or gets: [n] of a batch is [n, 1], a single number is [1]."""
    return (*shape, 1) if len(shape) <= (1 if batched else 0) else shape


def send_as_served(tensors: Tensors, batched: bool) -> Tensors:
    """Return tensors in the shapes in which Triton takes them."""
    return {name: np.reshape(array, shape_as_served(array.shape, batched)) for name, array in tensors.items()}
