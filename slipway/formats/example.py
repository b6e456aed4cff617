"""MLflow's input example of a model, as `log_model(input_example=…)` writes it.

input_example.json          an array, a dictionary of arrays by input, or a table as pandas' orient split has it
serving_input_example.json  the same as a request: inputs, instances or dataframe_split
"""

import json
from contextlib import suppress
from pathlib import Path
from typing import Any

import numpy as np
from tritonclient.utils import triton_to_np_dtype

from slipway.formats.contents import is_plain_file
from slipway.formats.mlmodel import read_text
from slipway.formats.signature import Signature, TensorSpec

EXAMPLE_BYTES = 32 * 1024**2
_SECTION = "saved_input_example_info"
_WRAPPED = ("inputs", "instances", "dataframe_split")
_BROKEN = (OSError, ValueError, TypeError, LookupError, ArithmeticError, RecursionError, MemoryError)


def read_example(directory: Path, signature: Signature) -> dict[str, np.ndarray] | None:
    """Return the input example as tensors by input, None where there is none that fits the signature."""
    for name in list_example_files(directory):
        with suppress(*_BROKEN):
            return _fit(_read(directory / name), signature)
    return None


def list_example_files(directory: Path) -> tuple[str, ...]:
    """Return the names of the files that MLmodel says hold the input example."""
    names = (read_text(directory, _SECTION, key) for key in ("artifact_path", "serving_input_path"))
    return tuple(name for name in names if name and Path(name).name == name)


def _read(path: Path) -> Any:
    if not is_plain_file(path) or path.stat().st_size > EXAMPLE_BYTES:
        raise ValueError(f"{path.name} is no file of {EXAMPLE_BYTES} bytes at most")
    if path.suffix == ".npy":
        return np.load(path, allow_pickle=False)
    return json.loads(path.read_bytes())


def _fit(content: Any, signature: Signature) -> dict[str, np.ndarray]:
    """Return what an example holds for each input; a ValueError where it does not fit."""
    if isinstance(content, dict):
        content = next((content[key] for key in _WRAPPED if key in content and not _is_input(key, signature)), content)
    if isinstance(content, dict) and content.keys() == {"columns", "data"}:
        content = _read_table(content["columns"], content["data"], signature)
    if not isinstance(content, dict):
        (only,) = signature.inputs
        content = {only.name: content}
    if content.keys() != {spec.name for spec in signature.inputs}:
        raise ValueError(f"an example of {sorted(content)}")
    return {spec.name: _convert(spec, content[spec.name]) for spec in signature.inputs}


def _is_input(name: str, signature: Signature) -> bool:
    return name in {spec.name for spec in signature.inputs}


def _read_table(columns: list[str], rows: list[list[Any]], signature: Signature) -> Any:
    """Return a table's columns by input, or its rows where one input takes them all."""
    if set(columns) == {spec.name for spec in signature.inputs}:
        return {name: [row[number] for row in rows] for number, name in enumerate(columns)}
    return rows


def _convert(spec: TensorSpec, values: Any) -> np.ndarray:
    """Return values as a tensor of an input's type, with a batch axis, or one of size 1, where the input has it."""
    given = np.asarray(values)
    dtype = np.dtype(triton_to_np_dtype(spec.dtype))
    if given.size == 0 or not _is_kind(given, dtype):
        raise ValueError(f"{given.dtype} for {dtype}")
    with np.errstate(over="raise", invalid="raise"):
        array = (given.astype(object) if dtype.kind == "O" else given).astype(dtype)
    if dtype.kind in "iu" and not np.array_equal(array, given):
        raise ValueError(f"numbers that are not {dtype}")
    for shape in (given.shape, (1, *given.shape), (*given.shape, 1)):
        if spec.accepts(shape):
            return array.reshape(shape)
    raise ValueError(f"{list(given.shape)} for {list(spec.shape)}")


def _is_kind(given: np.ndarray, dtype: np.dtype[Any]) -> bool:
    """Tell whether values are of a type's kind: text for text, a truth for a truth, numbers for numbers."""
    if dtype.kind == "O":
        return given.dtype.kind in "SU"
    return given.dtype.kind in ("b" if dtype.kind == "b" else "iuf")
