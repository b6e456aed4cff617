"""Warm-up: what an instance computes once before it serves, so that no client waits for its first request.

A backend that builds or tunes what it computes with does so for each size it meets: TensorRT and cuDNN take seconds to
minutes. See Triton's documentation, "Model Configuration", on ModelWarmup.
"""

from collections.abc import Iterator
from typing import Any

from tritonclient.grpc import model_config_pb2 as pb

from blocks.errors import InvalidInput
from slipway.releases.serving_settings import ServingSettings


def make_warm_up(settings: ServingSettings, config: pb.ModelConfig) -> list[pb.ModelWarmup] | None:
    """Return the requests that settings ask for, shaped as a configuration declares its inputs; None for none.

    Raises `InvalidInput` where an axis is dynamic and nothing says its size.
    """
    if settings.warm_up is None:
        return None
    data = {f"{'zero' if settings.warm_up == 'zeros' else 'random'}_data": True}
    shapes = {tensor.name: _choose_dims(tensor, settings, str(config.name)) for tensor in config.input}
    if unknown := sorted((settings.warm_up_shapes or {}).keys() - shapes):
        raise InvalidInput(
            f"model '{config.name}': warm_up_shapes names input {unknown[0]!r}, expected one of {sorted(shapes)}; "
            "correct it"
        )
    inputs = {
        tensor.name: pb.ModelWarmup.Input(data_type=tensor.data_type, dims=shapes[tensor.name], **data)
        for tensor in config.input
    }
    return [
        pb.ModelWarmup(name=f"{settings.warm_up} of {size or 'one'}", batch_size=size, count=1, inputs=inputs)
        for size in _list_warm_up_sizes(settings, config.max_batch_size)
    ]


def _list_warm_up_sizes(settings: ServingSettings, max_batch_size: int) -> Iterator[int]:
    if max_batch_size == 0:
        yield 0
    else:
        yield from sorted(set(settings.warm_up_batch_sizes or (1, max_batch_size)))


def _choose_dims(tensor: Any, settings: ServingSettings, model_name: str) -> list[int]:
    """Return the sizes to warm up with, in which every dynamic axis has to have one."""
    dims = list(tensor.dims)
    given = list((settings.warm_up_shapes or {}).get(tensor.name, dims))
    fits = len(given) == len(dims) and all(axis in (-1, size) for axis, size in zip(dims, given, strict=True))
    if not fits or -1 in given:
        raise InvalidInput(
            f"model '{model_name}': input '{tensor.name}' is {dims} beside the batch, warm_up_shapes say "
            f"{given if given != dims else 'nothing'} of it, expected a size for each -1; set warm_up_shapes, say "
            f"{tensor.name}={'x'.join('128' if axis == -1 else str(axis) for axis in dims)}"
        )
    return given
