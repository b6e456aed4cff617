"""What clients give to `predict`, as tensors, and what they get back, as NVIDIA's plugin has both.

Taken are a DataFrame with a row a tensor (`{"inputs": {NAME: …}}`, which is what an input file is), one with a column a
tensor or a column a feature, a dictionary by tensor, a KServe request, and, where the model has one input, whatever
NumPy makes an array of.
"""

from collections.abc import Mapping
from typing import Any

import numpy as np
import pandas as pd
from tritonclient.utils import triton_to_np_dtype

from blocks.errors import InvalidInput
from blocks.fleet import Tensors

DataTypes = Mapping[str, str]


def make_tensors(given: Any, inputs: DataTypes, model_name: str) -> Tensors:
    """Return what was given by the model's inputs, each in its data type; `InvalidInput` where it does not fit.

    Args:
        given: what the client gave.
        inputs: Triton's data type of each input.
        model_name: the model, for messages.
    """
    named = _name(given, inputs)
    if named is None:
        raise InvalidInput(
            f"model '{model_name}': takes {', '.join(inputs)}, and what was given does not say which is which; give a "
            "dictionary by tensor, or a DataFrame with a row a tensor"
        )
    if unknown := sorted(named.keys() - inputs.keys()):
        raise InvalidInput(f"model '{model_name}': was given {', '.join(unknown)}, and takes {', '.join(inputs)}")
    return {
        name: _convert(value, inputs[name], f"model '{model_name}' input '{name}'") for name, value in named.items()
    }


def make_frame(outputs: Tensors) -> pd.DataFrame:
    """Return outputs as a DataFrame with the column `outputs` and a row a tensor, each an array."""
    return pd.DataFrame.from_dict({"outputs": outputs})


def _name(given: Any, inputs: DataTypes) -> dict[str, Any] | None:
    """Return what was given by tensor, None where that is not said and there are several."""
    if isinstance(given, pd.DataFrame):
        return _name_frame(given, inputs)
    if isinstance(given, Mapping):
        if set(given) == {"inputs"} and "inputs" not in inputs:
            return _name(given["inputs"], inputs)
        return {str(name): value for name, value in given.items()}
    if isinstance(given, list | tuple) and given and all(_is_described(entry) for entry in given):
        return {str(entry["name"]): _shape(entry) for entry in given}
    return {next(iter(inputs)): given} if len(inputs) == 1 else None


def _name_frame(frame: pd.DataFrame, inputs: DataTypes) -> dict[str, Any] | None:
    if len(frame.columns) == 1 and set(map(str, frame.index)) <= inputs.keys():
        return {str(row): value for row, value in frame.iloc[:, 0].items()}
    if len(frame.columns) == 1 and all(_is_described(value) for value in frame.iloc[:, 0]):
        return _name(list(frame.iloc[:, 0]), inputs)
    if set(map(str, frame.columns)) == set(inputs):
        return {str(name): np.array(frame[name].tolist()) for name in frame.columns}
    return {next(iter(inputs)): frame.to_numpy()} if len(inputs) == 1 else None


def _is_described(entry: Any) -> bool:
    """Tell whether a value is a tensor as a KServe request has it."""
    return isinstance(entry, Mapping) and {"name", "data"} <= entry.keys()


def _shape(entry: Mapping[str, Any]) -> Any:
    data = np.array(entry["data"])
    return data.reshape(entry["shape"]) if "shape" in entry else data


def _convert(value: Any, data_type: str, subject: str) -> np.ndarray:
    wanted = np.dtype(triton_to_np_dtype(data_type) or object)
    try:
        array = value if isinstance(value, np.ndarray) else np.array(value, dtype=wanted)
        return array if array.dtype == wanted else array.astype(wanted, casting="same_kind")
    except (TypeError, ValueError) as error:
        raise InvalidInput(f"{subject}: takes {data_type}, and what was given is none ({error}); convert it") from error
