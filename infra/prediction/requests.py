"""Requests as files: KServe's JSON, as `curl -d @input.json` sends it, read and made up from what a model takes."""

import json
from pathlib import Path
from typing import Any

import numpy as np
from tritonclient.utils import triton_to_np_dtype

from blocks.errors import InvalidInput, bounded
from infra.prediction.served import FREE, Arrays, Served, Tensor

FILE_BYTES = 256 * 1024**2
_BYTES = "BYTES"


def read_request(path: Path, served: Served) -> Arrays:
    """Return the inputs of a KServe request, checked against what the model takes.

    Raises `InvalidInput` where the file is no such request, or another model's.
    """
    try:
        if path.stat().st_size > FILE_BYTES:
            raise InvalidInput(f"request {path}: is larger than {FILE_BYTES} bytes; send less at once")
        inputs = read_inputs(json.loads(path.read_text()))
    except (OSError, UnicodeError) as error:
        raise InvalidInput(f"request {path}: {bounded(error)}; give a file that can be read") from error
    except (ValueError, KeyError, TypeError) as error:
        raise InvalidInput(
            f"request {path}: is no KServe request ({bounded(repr(error), 200)}), expected "
            '{"inputs": [{"name": …, "shape": […], "datatype": …, "data": […]}]}; '
            "`slipway generate-input` writes one"
        ) from error
    served.check(inputs)
    return inputs


def read_inputs(request: dict[str, Any]) -> Arrays:
    """Return the inputs of a KServe request as arrays; `ValueError`, `KeyError` or `TypeError` where it is none."""
    return {tensor["name"]: _read_tensor(tensor) for tensor in request["inputs"]}


def make_request(served: Served, size: int = 1, seed: int = 0) -> dict[str, Any]:
    """Return a request a model takes, made up: normal numbers, small whole ones, the text "text"; free axes of `size`.

    The same seed makes the same request.
    """
    random = np.random.default_rng(seed)
    return {"inputs": [_make_tensor(tensor, size, random) for tensor in served.inputs]}


def _make_tensor(tensor: Tensor, size: int, random: np.random.Generator) -> dict[str, Any]:
    shape = [size if axis == FREE else axis for axis in tensor.shape]
    if tensor.datatype == _BYTES:
        data: Any = np.full(shape, "text").ravel().tolist()
    elif tensor.datatype == "BOOL":
        data = random.integers(0, 2, shape).astype(bool).ravel().tolist()
    elif np.issubdtype(triton_to_np_dtype(tensor.datatype), np.floating):
        data = [round(float(value), 4) for value in random.standard_normal(shape).ravel()]
    else:
        data = random.integers(0, 10, shape).ravel().tolist()
    return {"name": tensor.name, "shape": shape, "datatype": tensor.datatype, "data": data}


def _read_tensor(tensor: dict[str, Any]) -> np.ndarray:
    if tensor["datatype"] == _BYTES:
        flat = np.array([str(text).encode() for text in _flatten(tensor["data"])], np.object_)
    else:
        flat = np.asarray(_flatten(tensor["data"]), triton_to_np_dtype(tensor["datatype"]))
    return flat.reshape(tensor["shape"])


def _flatten(data: Any) -> list[Any]:
    if not isinstance(data, list):
        return [data]
    return [value for part in data for value in _flatten(part)] if any(isinstance(x, list) for x in data) else data
