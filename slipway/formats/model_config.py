"""A config.pbtxt as its author wrote it: the backend, the file that it opens, what the model takes and gives.

What Triton's messages mean is defined in model_config.proto of triton-inference-server/common.
"""

import math
from collections import Counter
from collections.abc import Sequence
from pathlib import Path, PurePosixPath
from typing import Any

from google.protobuf import text_format
from google.protobuf.message import DecodeError
from tritonclient.grpc import model_config_pb2 as pb

from blocks.errors import UnusableModel, bounded
from blocks.labels import CONFIG_FILE, MODEL_FILE
from slipway.formats.contents import is_plain_file
from slipway.formats.signature import Signature, TensorSpec

CONFIG_BYTES = 1024**2
ENSEMBLE = "ensemble"
BATCH = "batch"  # what a signature calls the axis that Triton joins requests along
_ELSEWHERE = "serve it without slipway for now"
_ONE = (
    "where each request gets exactly one, leave model_transaction_policy out and have execute return it; else "
    + _ELSEWHERE
)
_PLATFORMS = {
    "onnxruntime_onnx": "onnxruntime",
    "tensorrt_plan": "tensorrt",
    "pytorch_libtorch": "pytorch",
    "tensorflow_savedmodel": "tensorflow",
    "tensorflow_graphdef": "tensorflow",
}
_MODEL_FILES = {
    "onnxruntime": MODEL_FILE,
    "tensorrt": "model.plan",
    "python": "model.py",
    "pytorch": "model.pt",
    "openvino": "model.xml",
    "dali": "model.dali",
    "tensorflow": "model.savedmodel",
    "vllm": "model.json",
}
_TREES = {
    "xgboost": "xgboost.model",
    "xgboost_json": "xgboost.json",
    "xgboost_ubj": "xgboost.ubj",
    "lightgbm": "model.txt",
    "treelite_checkpoint": "checkpoint.tl",
}


def parse_config(text: str, subject: str) -> pb.ModelConfig:
    """Return a config.pbtxt as Triton's own message; `UnusableModel` where it is none."""
    if len(text.encode()) > CONFIG_BYTES:
        raise UnusableModel(
            f"{subject}: {CONFIG_FILE} has {len(text.encode())} bytes, {CONFIG_BYTES} are allowed; keep large "
            "parameters in files beside it"
        )
    try:
        return text_format.Parse(text, pb.ModelConfig())
    except (text_format.ParseError, DecodeError, ValueError, RecursionError) as error:
        raise UnusableModel(
            f"{subject}: {CONFIG_FILE} is not a Triton model configuration ({bounded(error, 300)}); correct that line"
        ) from error


def read_config(path: Path, subject: str) -> str | None:
    """Return the text of a config.pbtxt, None where there is none; `UnusableModel` where it cannot be one."""
    if not (path.exists() or path.is_symlink()):
        return None
    if not is_plain_file(path) or path.stat().st_size > CONFIG_BYTES:
        raise UnusableModel(
            f"{subject}: {CONFIG_FILE} is no file of {CONFIG_BYTES} bytes at most; keep large parameters in files "
            "beside it"
        )
    try:
        return path.read_text(encoding="utf-8")
    except (OSError, ValueError) as error:
        raise UnusableModel(
            f"{subject}: {CONFIG_FILE} is not text in UTF-8 ({bounded(error, 200)}); write it again"
        ) from error


def format_config(config: pb.ModelConfig) -> str:
    """Return a configuration as the text of a config.pbtxt."""
    return str(text_format.MessageToString(config))


def find_backend(config: pb.ModelConfig) -> str:
    """Return the backend a configuration names, by itself or as a platform; nothing where it names none."""
    return str(config.backend) or _PLATFORMS.get(config.platform, str(config.platform))


def find_backend_of(files: Sequence[str]) -> str:
    """Return the backend that Triton takes a version's files for, where no configuration names one; else nothing."""
    unmistakable = {name: backend for backend, name in _MODEL_FILES.items() if backend != "vllm"}
    return next((backend for name, backend in unmistakable.items() if name in files), "")


def find_model_file(config: pb.ModelConfig, backend: str) -> str:
    """Return the file that the backend opens, by its path below the version's folder; nothing where it needs none."""
    if config.default_model_filename:
        return str(config.default_model_filename)
    if config.runtime.endswith(".py"):
        return str(config.runtime)
    if backend == "fil":
        kind = config.parameters["model_type"].string_value if "model_type" in config.parameters else "xgboost"
        return _TREES.get(kind, "")
    if config.platform == "tensorflow_graphdef":
        return "model.graphdef"
    return _MODEL_FILES.get(backend, "")


def check_config(config: pb.ModelConfig, subject: str) -> None:
    """Raise `UnusableModel` where a configuration cannot be served by Triton, or not be released by slipway yet."""
    if config.model_transaction_policy.decoupled:
        raise _refuse(subject, "is decoupled, expected one answer a request, which is all that can be proven", _ONE)
    if config.HasField("sequence_batching"):
        raise _refuse(subject, "asks for sequence batching, expected requests that stand alone", _ELSEWHERE)
    if config.max_batch_size < 0:
        raise _refuse(subject, f"says max_batch_size {config.max_batch_size}, expected 0 (no batches) or more")
    if config.backend and config.platform and _PLATFORMS.get(config.platform, config.backend) != config.backend:
        raise _refuse(
            subject, f"says backend '{config.backend}' and platform '{config.platform}', expected one of them"
        )
    _check_steps(config, subject)
    for kind, tensors in (("input", config.input), ("output", config.output)):
        repeated = [name for name, count in Counter(tensor.name for tensor in tensors).items() if count > 1]
        if repeated:
            raise _refuse(subject, f"names {kind} '{bounded(repeated[0], 200)}' more than once, expected it once")
        for tensor in tensors:
            _check_tensor(kind, tensor, config.max_batch_size > 0, subject)
    for name in list_named_files(config):
        _check_path(name, subject)


def list_named_files(config: pb.ModelConfig) -> tuple[str, ...]:
    """Return the files that a configuration names: models below the version's folder, labels beside config.pbtxt."""
    names = (
        config.default_model_filename,
        *config.cc_model_filenames.values(),
        *(output.label_filename for output in config.output),
        *(data.input_data_file for warmup in config.model_warmup for data in warmup.inputs.values()),
    )
    return tuple(str(name) for name in names if name)


def read_signature(config: pb.ModelConfig, subject: str = CONFIG_FILE) -> Signature:
    """Return what clients send and get, as a configuration declares it: the batch axis first where there is one.

    Raises `UnusableModel` where it declares no inputs, or no outputs.
    """
    for kind, tensors in (("input", config.input), ("output", config.output)):
        if not tensors:
            raise _refuse(subject, f"declares no {kind}s, expected each with name, data_type and dims")
    batched = config.max_batch_size > 0
    return Signature(
        inputs=tuple(_describe(tensor, batched) for tensor in config.input),
        outputs=tuple(_describe(tensor, batched) for tensor in config.output),
        opset=0,
    )


def check_declared(config: pb.ModelConfig, real: Signature, optional: Sequence[str], subject: str) -> None:
    """Raise `UnusableModel` where a configuration declares other tensors than the model has.

    Args:
        config: declares inputs and outputs, or leaves them out.
        real: what the model file takes and gives.
        optional: inputs that have a default, which may be declared.
        subject: names the model in messages.
    """
    if config.input:
        missing = {spec.name for spec in real.inputs} - {tensor.name for tensor in config.input}
        if missing:
            raise _refuse(subject, f"declares no input {sorted(missing)}, which the model file needs")
    known = (("input", config.input, real.inputs, optional), ("output", config.output, real.outputs, ()))
    for kind, declared, specs, others in known:
        by_name = {spec.name: spec for spec in specs}
        for tensor in declared:
            if tensor.name not in by_name and tensor.name not in others:
                raise _refuse(
                    subject, f"declares {kind} '{bounded(tensor.name, 200)}', the model file has {sorted(by_name)}"
                )
            if spec := by_name.get(tensor.name):
                _compare(kind, tensor, spec, config.max_batch_size > 0, subject)
    if config.max_batch_size > 0:
        _check_batch_axes((*real.inputs, *real.outputs), config.max_batch_size, subject)


def _check_batch_axes(specs: tuple[TensorSpec, ...], max_batch_size: int, subject: str) -> None:
    for spec in specs:
        if not (spec.shape and isinstance(spec.shape[0], str)):
            raise _refuse(
                subject,
                f"says max_batch_size {max_batch_size}, '{bounded(spec.name, 200)}' of the model file is "
                f"{list(spec.shape)}, without a dynamic first axis",
            )


def _compare(kind: str, tensor: Any, spec: TensorSpec, batched: bool, subject: str) -> None:
    dtype = _name_dtype(tensor)
    dims = list(tensor.reshape.shape if tensor.HasField("reshape") else tensor.dims)
    declared = [-1, *dims] if batched else dims
    scalar = not spec.shape and declared == [1]
    real = [-1 if isinstance(axis, str) else axis for axis in spec.shape]
    fits = len(declared) == len(real) and all(axis in (-1, size) for axis, size in zip(real, declared, strict=True))
    if dtype != spec.dtype or not (fits or scalar):
        raise _refuse(
            subject,
            f"declares {kind} '{bounded(tensor.name, 200)}' as {dtype} {declared}, the model file has it as "
            f"{spec.dtype} {real}",
        )


def _check_steps(config: pb.ModelConfig, subject: str) -> None:
    is_ensemble = find_backend(config) == ENSEMBLE
    steps = config.ensemble_scheduling.step
    if is_ensemble and not steps:
        raise _refuse(subject, "is of an ensemble without steps, expected ensemble_scheduling with one at least")
    if steps and not is_ensemble:
        raise _refuse(subject, f"has steps of an ensemble and backend '{find_backend(config)}', expected 'ensemble'")
    for number, step in enumerate(steps):
        if not step.model_name:
            raise _refuse(subject, f"names no model in step {number} of its ensemble, expected model_name")


def _check_tensor(kind: str, tensor: Any, batched: bool, subject: str) -> None:
    name = bounded(tensor.name, 200)
    if not tensor.name:
        raise _refuse(subject, f"declares an {kind} without a name, expected one")
    if tensor.data_type == pb.TYPE_INVALID:
        raise _refuse(subject, f"declares no data_type of {kind} '{name}', expected one such as TYPE_FP32")
    if not tensor.dims:
        hint = "1, with reshape { shape: [] } for a scalar" if batched else "one axis at least, 1 for a scalar"
        raise _refuse(subject, f"declares {kind} '{name}' without dims, expected {hint}")
    if any(size == 0 or size < -1 for size in (*tensor.dims, *tensor.reshape.shape)):
        raise _refuse(subject, f"declares {kind} '{name}' with dims {list(tensor.dims)}, expected sizes, or -1")
    shape = list(tensor.reshape.shape)
    is_sized = tensor.HasField("reshape") and min((*tensor.dims, *shape), default=1) > 0
    if is_sized and math.prod(tensor.dims) != math.prod(shape):
        raise _refuse(subject, f"reshapes {kind} '{name}' from {list(tensor.dims)} to {shape}, expected equal sizes")


def _check_path(name: str, subject: str) -> None:
    place = PurePosixPath(name)
    if place.is_absolute() or ".." in place.parts or not name.isprintable() or "\\" in name:
        raise _refuse(subject, f"names the file {bounded(repr(name), 200)}, expected one inside the model's directory")


def _describe(tensor: Any, batched: bool) -> TensorSpec:
    first = 1 if batched else 0
    shape = tuple(f"axis_{number}" if size == -1 else int(size) for number, size in enumerate(tensor.dims, first))
    return TensorSpec(name=tensor.name, dtype=_name_dtype(tensor), shape=(BATCH, *shape) if batched else shape)


def _name_dtype(tensor: Any) -> str:
    name = pb.DataType.Name(tensor.data_type).removeprefix("TYPE_")
    return "BYTES" if name == "STRING" else name


def _refuse(subject: str, what: str, remedy: str = "correct it and register the model again") -> UnusableModel:
    return UnusableModel(f"{subject}: {CONFIG_FILE} {what}; {remedy}")
