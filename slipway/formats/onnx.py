"""An ONNX model on disk: its files, its signature, and whether it is safe and sound to serve.

Nothing here runs the model, and weights in external data are read in chunks, never held in memory.
"""

import math
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import onnx
from google.protobuf.message import DecodeError
from onnx import TensorProto
from onnx.external_data_helper import ExternalDataInfo, uses_external_data

from blocks.errors import UnusableModel, bounded
from blocks.labels import CONFIG_FILE, DESCRIPTION_FILE, METADATA_FILE, MODEL_FILE
from blocks.repository_layout import SHARED
from slipway.formats.contents import Contents, is_plain_file
from slipway.formats.mlmodel import find_model_file, lists_flavor
from slipway.formats.model_config import (
    check_config,
    check_declared,
    find_backend,
    format_config,
    parse_config,
    read_config,
)
from slipway.formats.onnx_graph import describe_graph, list_tensors
from slipway.formats.signature import Signature

BACKEND = "onnxruntime"
SUFFIX = ".onnx"
_CHUNK_BYTES = 1024**2
# by what most of them are in, weights are exact to so many digits
_PRECISIONS: dict[int, str] = {
    TensorProto.FLOAT: "FP32",
    TensorProto.FLOAT16: "FP16",
    TensorProto.BFLOAT16: "BF16",
    TensorProto.DOUBLE: "FP64",
}
_TAKEN = {MODEL_FILE, METADATA_FILE}  # what else is in a version's directory


class Onnx:
    """A model logged with `mlflow.onnx`: one graph, its weights in it or in files beside it."""

    flavor = "onnx"

    def matches(self, directory: Path) -> bool:
        """Tell whether MLmodel lists the flavor onnx."""
        return lists_flavor(directory, self.flavor)

    def arrange(self, directory: Path, subject: str) -> None:
        """Give the model file Triton's name for it, as MLmodel says which file it is, never by looking for one."""
        found = find_model_file(directory, self.flavor, subject)
        if found.name != MODEL_FILE:
            found.rename(directory / MODEL_FILE)
        _share_named_files(directory, subject)

    def open(self, directory: Path, subject: str) -> Contents:
        """Check the graph and all weights, and say what it takes and gives."""
        return open_onnx(directory, subject)


class BareOnnx:
    """A single ONNX file without an MLmodel, its weights in it or in files beside it."""

    flavor = "bare-onnx"

    def matches(self, directory: Path) -> bool:
        """Tell whether there is an ONNX file and no MLmodel."""
        return not (directory / DESCRIPTION_FILE).exists() and bool(_find_bare(directory))

    def arrange(self, directory: Path, subject: str) -> None:
        """Give the one ONNX file Triton's name for it."""
        find_bare_model(directory, subject).rename(directory / MODEL_FILE)
        _share_named_files(directory, subject)

    def open(self, directory: Path, subject: str) -> Contents:
        """Check the graph and all weights, and say what it takes and gives."""
        return open_onnx(directory, subject)


def open_onnx(directory: Path, subject: str) -> Contents:
    """Check the graph and all weights of model.onnx, and say what it takes and gives."""
    signature = read_signature(directory, subject)
    shared = tuple(f"{SHARED}{path.name}" for path in sorted((directory / SHARED).glob("*")))
    return Contents(
        backend=BACKEND,
        model_file=MODEL_FILE,
        files=(MODEL_FILE, *find_external_files(directory, subject), *shared),
        signature=signature,
        precision=read_precision(directory, subject),
        config=_read_author_config(directory, signature, subject),
        facts={"format": "onnx", "opset": signature.opset, "producer": signature.producer},
    )


def _share_named_files(directory: Path, subject: str) -> None:
    """Put the labels that a config.pbtxt beside the model names where a version has what is its model's as a whole."""
    text = read_config(directory / CONFIG_FILE, subject)
    config = parse_config(text or "", subject)
    for name in sorted({output.label_filename for output in config.output} - {""}):
        if not is_plain_file(directory / name) or Path(name).name != name:
            raise UnusableModel(
                f"{subject}: {CONFIG_FILE} names {bounded(repr(name), 200)}, which is not beside it; put it there"
            )
        (directory / SHARED).mkdir(exist_ok=True)
        (directory / name).rename(directory / SHARED / name)


def _read_author_config(directory: Path, signature: Signature, subject: str) -> str | None:
    """Return the config.pbtxt that lies beside the model, where there is one, with the model file's name of now."""
    if (text := read_config(directory / CONFIG_FILE, subject)) is None:
        return None
    config = parse_config(text, subject)
    check_config(config, subject)
    if find_backend(config) not in {"", BACKEND}:
        raise UnusableModel(
            f"{subject}: {CONFIG_FILE} says backend '{find_backend(config)}', expected {BACKEND}, which serves ONNX; "
            "correct it"
        )
    check_declared(config, signature, list_optional_inputs(directory / MODEL_FILE, subject), subject)
    if config.default_model_filename in {"", MODEL_FILE}:
        return text
    config.default_model_filename = MODEL_FILE
    return format_config(config)


def find_bare_model(directory: Path, subject: str) -> Path:
    """Return the one ONNX file of a directory; `UnusableModel` where there is none, or more than one."""
    found = _find_bare(directory)
    if len(found) != 1:
        names = bounded([path.name for path in found], 300) if found else "none"
        raise UnusableModel(
            f"{subject}: files that end in {SUFFIX}: {names}, expected exactly one where there is no "
            f"{DESCRIPTION_FILE}; keep the one to serve, or log it with mlflow.onnx"
        )
    return found[0]


def read_signature(directory: Path, subject: str, model_file: str = MODEL_FILE) -> Signature:
    """Check the model in a directory and return its signature; `UnusableModel` says what is wrong with it.

    Args:
        directory: holds the model file and its external data, if any.
        subject: names the model in messages.
        model_file: the name of the model file.
    """
    model = _parse(directory / model_file, subject)
    for tensor, is_weight in list_tensors(model):
        _check_tensor(tensor, is_weight, directory, subject)
    signature = describe_graph(model, subject)
    try:
        onnx.checker.check_model(str(directory / model_file))
    except (onnx.checker.ValidationError, ValueError, TypeError, RuntimeError) as error:
        raise UnusableModel(f"{subject}: not a valid ONNX model ({bounded(error)}); export it again") from error
    return signature


def find_external_files(directory: Path, subject: str, model_file: str = MODEL_FILE) -> tuple[str, ...]:
    """Return the names of the external data files a model refers to, each inside its directory."""
    model = _parse(directory / model_file, subject)
    found = (
        _find_external(tensor, directory, subject) for tensor, _ in list_tensors(model) if uses_external_data(tensor)
    )
    return tuple(sorted({_strip_here(info.location) for info in found}))


def list_optional_inputs(path: Path, subject: str) -> tuple[str, ...]:
    """Return the inputs of a model file that have a default."""
    graph = _parse(path, subject).graph
    return tuple({tensor.name for tensor in graph.initializer} & {value.name for value in graph.input})


def read_precision(directory: Path, subject: str, model_file: str = MODEL_FILE) -> str:
    """Return what most bytes of a model's float weights are in, FP32 where it has none."""
    sizes: Counter[str] = Counter()
    for tensor, _ in list_tensors(_parse(directory / model_file, subject)):
        if precision := _PRECISIONS.get(tensor.data_type):
            sizes[precision] += math.prod(tensor.dims) * onnx.helper.tensor_dtype_to_np_dtype(tensor.data_type).itemsize
    return max(sizes, key=lambda precision: sizes[precision], default="FP32")


def _find_bare(directory: Path) -> list[Path]:
    found = sorted(directory.iterdir()) if directory.is_dir() else []
    return [path for path in found if path.suffix == SUFFIX and is_plain_file(path)]


def _parse(path: Path, subject: str) -> onnx.ModelProto:
    if not is_plain_file(path):
        raise UnusableModel(f"{subject}: has no file {path.name}; expected an ONNX model logged by MLflow")
    try:
        model = onnx.load(str(path), load_external_data=False)
    except (DecodeError, ValueError, OSError) as error:
        raise UnusableModel(
            f"{subject}: {path.name} of {path.stat().st_size} bytes is no ONNX protobuf, it is corrupt or truncated; "
            "register it again"
        ) from error
    if not model.graph.output:
        raise UnusableModel(f"{subject}: {path.name} holds no graph with outputs; register it again")
    return model


def _find_external(tensor: TensorProto, directory: Path, subject: str) -> ExternalDataInfo:
    """Return where a tensor's values are, which is a file beside the model."""
    try:
        info = ExternalDataInfo(tensor)
    except ValueError as error:
        raise UnusableModel(
            f"{subject}: weight '{bounded(tensor.name, 200)}' says {bounded(error)} of its external data, expected "
            "numbers as offset and length; export it again"
        ) from error
    name = _strip_here(info.location)
    if name in {"", ".", ".."} or "/" in name or "\\" in name or not name.isprintable() or name in _TAKEN:
        raise UnusableModel(
            f"{subject}: external data at {bounded(repr(info.location), 200)}, expected a file of its own beside "
            f"{MODEL_FILE}; a model may not point outside its directory: export it again"
        )
    if not is_plain_file(directory / name):
        raise UnusableModel(
            f"{subject}: external data file {bounded(repr(info.location), 200)} is missing; register the model with it"
        )
    return info


def _strip_here(location: str) -> str:
    return location.removeprefix("./")


def _check_tensor(tensor: TensorProto, is_weight: bool, directory: Path, subject: str) -> None:
    """Check that a tensor can be read, and holds no NaN where it is a weight; constants, say of a mask, may hold it."""
    is_float = tensor.data_type in _PRECISIONS
    try:
        if uses_external_data(tensor):
            values = _read_chunks(tensor, _find_external(tensor, directory, subject), directory, subject)
        else:
            values = iter([onnx.numpy_helper.to_array(tensor)] if is_float else [])
        onnx.helper.tensor_dtype_to_np_dtype(tensor.data_type)  # a KeyError where there is no such type
        holds_nan = is_float and any(bool(np.isnan(chunk).any()) for chunk in values)
    except (ValueError, TypeError, KeyError, OverflowError, MemoryError) as error:
        raise UnusableModel(
            f"{subject}: weight '{bounded(tensor.name, 200)}' cannot be read ({bounded(error)}); export it again"
        ) from error
    if holds_nan and is_weight and math.prod(tensor.dims) > 1:
        raise UnusableModel(
            f"{subject}: weight '{bounded(tensor.name, 200)}' holds NaN; the training went wrong, train it again"
        )


def _read_chunks(tensor: TensorProto, info: ExternalDataInfo, directory: Path, subject: str) -> Iterator[np.ndarray]:
    path = directory / info.location
    dtype = onnx.helper.tensor_dtype_to_np_dtype(tensor.data_type)
    offset = info.offset or 0
    end = offset + math.prod(tensor.dims) * dtype.itemsize
    if not 0 <= offset <= end or min(tensor.dims, default=0) < 0:
        raise ValueError(f"{dtype} {list(tensor.dims)} from byte {offset} on")
    if end > path.stat().st_size:
        raise UnusableModel(
            f"{subject}: {info.location} has {path.stat().st_size} bytes, weight '{tensor.name}' ends at byte {end}; "
            "the file is truncated: register the model again"
        )
    step = _CHUNK_BYTES - _CHUNK_BYTES % dtype.itemsize
    for start in range(offset, end, step):
        yield np.fromfile(path, dtype=dtype, count=min(step, end - start) // dtype.itemsize, offset=start)
