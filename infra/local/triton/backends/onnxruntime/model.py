"""A Triton backend in Python that serves `backend: "onnxruntime"` models as NVIDIA's native one does.

Same model repository, same config.pbtxt: default_model_filename, instance_group, dynamic batching, execution
accelerators, and the parameters `intra_op_thread_count`, `inter_op_thread_count`, `execution_mode`, CUDA's options and
any `session.*` entry. Inputs and outputs are completed where the server is not told to leave that. Instances of kind
GPU compute with CUDA, or TensorRT, where the installed ONNX Runtime has it; an accelerator that it has not is refused,
as the native backend refuses what it was built without. See github.com/triton-inference-server/onnxruntime_backend.
"""

import json
from collections import defaultdict
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import onnxruntime
import triton_python_backend_utils as pb_utils

DATA_TYPES = {
    "tensor(bool)": "TYPE_BOOL",
    "tensor(double)": "TYPE_FP64",
    "tensor(float)": "TYPE_FP32",
    "tensor(float16)": "TYPE_FP16",
    "tensor(int16)": "TYPE_INT16",
    "tensor(int32)": "TYPE_INT32",
    "tensor(int64)": "TYPE_INT64",
    "tensor(int8)": "TYPE_INT8",
    "tensor(string)": "TYPE_STRING",
    "tensor(uint16)": "TYPE_UINT16",
    "tensor(uint32)": "TYPE_UINT32",
    "tensor(uint64)": "TYPE_UINT64",
    "tensor(uint8)": "TYPE_UINT8",
}
DEFAULT_BATCH_SIZE = 4  # of a model whose author says none
CUDA, CPU = "CUDAExecutionProvider", "CPUExecutionProvider"
TENSORRT, OPENVINO = "TensorrtExecutionProvider", "OpenVINOExecutionProvider"
# parameters of the model, some of them codes for what ONNX Runtime calls by a name
CUDA_CODES = {
    "cudnn_conv_algo_search": ("EXHAUSTIVE", "HEURISTIC", "DEFAULT"),
    "arena_extend_strategy": ("kNextPowerOfTwo", "kSameAsRequested"),
    "gpu_mem_limit": (),
    "do_copy_in_default_stream": (),
    "use_tf32": (),  # which the native backend reads from the accelerator `cuda` alone
}
TENSORRT_PRECISIONS = {"FP32": {}, "FP16": {"trt_fp16_enable": "1"}, "BF16": {"trt_bf16_enable": "1"}}
TENSORRT_PRECISIONS["INT8"] = {"trt_int8_enable": "1"}
TENSORRT_NAMES = {
    "max_workspace_size_bytes": "trt_max_workspace_size",
    "int8_calibration_table_name": "trt_int8_calibration_table_name",
    "int8_use_native_calibration_table": "trt_int8_use_native_calibration_table",
}
Arrays = dict[str, np.ndarray[Any, Any]]


class TritonPythonModel:
    """One instance of one version of a model."""

    @staticmethod
    def auto_complete_config(auto_complete_model_config: Any) -> Any:
        """Add the inputs and outputs that a configuration leaves out, and batching where each has a free first axis."""
        config = auto_complete_model_config.as_dict()
        if not (config["input"] or config["output"]):
            complete_config(auto_complete_model_config, open_session(config, None))
        return auto_complete_model_config

    def initialize(self, args: dict[str, str]) -> None:
        """Open the version's ONNX file and refuse a configuration that disagrees with it."""
        config = json.loads(args["model_config"])
        device_id = args["model_instance_device_id"] if args["model_instance_kind"] == "GPU" else None
        self.session = open_session(config, device_id)
        self.batched = config["max_batch_size"] > 0
        for kind, tensors in (("input", self.session.get_inputs()), ("output", self.session.get_outputs())):
            check_agreement(config, kind, tensors)
        self.output_names = [tensor.name for tensor in self.session.get_outputs()]
        self.single = {tensor.name for tensor in self.session.get_inputs() if is_single(tensor)}

    def execute(self, requests: Sequence[Any]) -> list[Any]:
        """Answer each request; those that can share a run of the session do, and an error is one request's own."""
        feeds = [{tensor.name(): decoded(tensor.as_numpy()) for tensor in request.inputs()} for request in requests]
        groups: dict[Any, list[int]] = defaultdict(list)
        for index, feed in enumerate(feeds):
            groups[self.shared_shape(feed) if self.batched else index].append(index)
        answers: list[Any] = [None] * len(requests)
        for indexes in groups.values():
            for index, answer in zip(indexes, self.run([feeds[index] for index in indexes]), strict=True):
                answers[index] = response(answer, requests[index].requested_output_names())
        return answers

    @staticmethod
    def shared_shape(feed: Arrays) -> tuple[Any, ...]:
        """Return what two requests must have in common to become one batch."""
        return tuple(sorted((name, array.dtype.str, array.shape[1:]) for name, array in feed.items()))

    def run(self, feeds: list[Arrays]) -> list[Arrays | str]:
        """Return each feed's outputs, or its error; a batch that fails is tried one by one."""
        try:
            if len(feeds) == 1:
                return [self.run_session(feeds[0])]
            return self.run_batch(feeds)
        except Exception as exc:  # noqa: BLE001, the session's errors have no common type, and one request's stays its own
            if len(feeds) == 1:
                return [str(exc)]
            return [self.run([feed])[0] for feed in feeds]

    def run_batch(self, feeds: list[Arrays]) -> list[Arrays | str]:
        """Run several feeds as one batch along the first axis and give each its part of the outputs."""
        together = {name: np.concatenate([feed[name] for feed in feeds]) for name in feeds[0]}
        sizes = [len(next(iter(feed.values()))) for feed in feeds]
        outputs = self.run_session(together)
        if any(array.ndim == 0 or len(array) != sum(sizes) for array in outputs.values()):
            raise ValueError("an output has no batch axis")
        ends = np.cumsum(sizes)[:-1]
        parts = {name: np.split(array, ends) for name, array in outputs.items()}
        return [{name: split[index] for name, split in parts.items()} for index in range(len(feeds))]

    def run_session(self, feed: Arrays) -> Arrays:
        """Return the outputs of one run of the session, by name."""
        feed = {name: array.reshape(()) if name in self.single else array for name, array in feed.items()}
        return dict(zip(self.output_names, self.session.run(self.output_names, feed), strict=True))

    def finalize(self) -> None:
        """Let the session's memory go."""
        del self.session


def complete_config(config: Any, session: onnxruntime.InferenceSession) -> None:
    """Have a configuration declare what a session takes and gives, as the native backend completes it."""
    inputs, outputs = session.get_inputs(), session.get_outputs()
    batched = all(shape_of(tensor)[:1] == [-1] for tensor in (*inputs, *outputs))
    if batched and config.as_dict()["max_batch_size"] == 0:
        config.set_max_batch_size(DEFAULT_BATCH_SIZE)
        config.set_dynamic_batching()
    for tensors, add in ((inputs, config.add_input), (outputs, config.add_output)):
        for tensor in tensors:
            dims = shape_of(tensor)[1 if batched else 0 :] or [1]
            add({"name": tensor.name, "data_type": DATA_TYPES[tensor.type], "dims": dims})


def open_session(config: dict[str, Any], device_id: str | None) -> onnxruntime.InferenceSession:
    """Return a session on the version's ONNX file; one that cannot be opened is a load error naming the file."""
    path = Path(pb_utils.get_model_dir(), config.get("default_model_filename") or "model.onnx")
    providers = choose_providers(config, device_id)
    try:
        return onnxruntime.InferenceSession(str(path), session_options(config), providers=providers)
    except Exception as exc:  # noqa: BLE001, the session's errors have no common type
        reason = f"model '{config['name']}' version {path.parent.name}: {path.name} cannot be opened: {exc}"
        raise pb_utils.TritonModelException(reason) from None


def choose_providers(config: dict[str, Any], device_id: str | None) -> list[Any]:
    """Return what computes, by precedence: on a GPU its accelerators and CUDA, where this ONNX Runtime has it."""
    return [*choose_on_gpu(config, device_id), *choose_on_cpu(config), CPU]


def choose_on_gpu(config: dict[str, Any], device_id: str | None) -> list[Any]:
    """Return what computes on an instance's GPU; nothing where it has none, or this ONNX Runtime has no CUDA."""
    if device_id is None or CUDA not in onnxruntime.get_available_providers():
        return []
    chosen: list[Any] = []
    options: dict[str, str] = {}
    for name, given in accelerators(config, "gpu"):
        if name == "tensorrt":
            require_provider(TENSORRT, name, config)
            chosen.append((TENSORRT, {**tensorrt_options(given, config), "device_id": device_id}))
        elif name == "cuda":
            options |= given
        else:
            raise unknown_accelerator(name, config)
    return [*chosen, (CUDA, {**options, **cuda_parameters(config), "device_id": device_id})]


def choose_on_cpu(config: dict[str, Any]) -> list[Any]:
    """Return the accelerators that compute on a CPU."""
    for name, _ in accelerators(config, "cpu"):
        if name != "openvino":
            raise unknown_accelerator(name, config)
        require_provider(OPENVINO, name, config)
    return [(OPENVINO, {"device_type": "CPU"}) for _ in accelerators(config, "cpu")]


def accelerators(config: dict[str, Any], device: str) -> list[tuple[str, dict[str, str]]]:
    """Return name and parameters of each accelerator that is asked for on a kind of device."""
    asked = config.get("optimization", {}).get("execution_accelerators", {})
    return [(each["name"], each.get("parameters", {})) for each in asked.get(f"{device}_execution_accelerator", [])]


def require_provider(provider: str, name: str, config: dict[str, Any]) -> None:
    """Raise a load error where this ONNX Runtime lacks what an accelerator needs."""
    if provider not in onnxruntime.get_available_providers():
        raise unknown_accelerator(name, config)


def unknown_accelerator(name: str, config: dict[str, Any]) -> Exception:
    """Return the load error for an accelerator that there is not, in the words of the native backend."""
    has = ", ".join(onnxruntime.get_available_providers())
    text = f"model '{config['name']}': unknown Execution Accelerator '{name}' is requested; this ONNX Runtime has {has}"
    return pb_utils.TritonModelException(text)  # type: ignore[no-any-return]


def tensorrt_options(given: dict[str, str], config: dict[str, Any]) -> dict[str, str]:
    """Return TensorRT's options as ONNX Runtime names them."""
    precision = given.get("precision_mode", "FP32")
    if precision not in TENSORRT_PRECISIONS:
        text = f"model '{config['name']}': unsupported precision mode '{precision}' is requested"
        raise pb_utils.TritonModelException(text)
    others = {TENSORRT_NAMES.get(key, key): value for key, value in given.items() if key != "precision_mode"}
    return {**others, **TENSORRT_PRECISIONS[precision]}


def cuda_parameters(config: dict[str, Any]) -> dict[str, str]:
    """Return the options of CUDA that are parameters of the model."""
    return {
        key: names[number(config, key, range(len(names)))] if names else parameters(config)[key]
        for key, names in CUDA_CODES.items()
        if key in parameters(config)
    }


def parameters(config: dict[str, Any]) -> dict[str, str]:
    """Return the parameters of a configuration."""
    return {key: value["string_value"] for key, value in config.get("parameters", {}).items()}


def number(config: dict[str, Any], key: str, allowed: range, default: int = 0) -> int:
    """Return a parameter that is a number; one that is none, or not allowed, is a load error naming it."""
    given = parameters(config).get(key)
    if given is None:
        return default
    if not given.isdecimal() or int(given) not in allowed:
        text = f"model '{config['name']}': parameter {key} is '{given}', expected {allowed.start} to {allowed.stop - 1}"
        raise pb_utils.TritonModelException(text)
    return int(given)


def session_options(config: dict[str, Any]) -> onnxruntime.SessionOptions:
    """Return the options a configuration asks for; by default one thread and no spinning, which starves others."""
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = number(config, "intra_op_thread_count", range(4097), default=1)
    options.inter_op_num_threads = number(config, "inter_op_thread_count", range(4097), default=1)
    if number(config, "execution_mode", range(2)) == 1:
        options.execution_mode = onnxruntime.ExecutionMode.ORT_PARALLEL
    entries = {"session.intra_op.allow_spinning": "0", "session.inter_op.allow_spinning": "0"}
    for key, value in {**entries, **parameters(config)}.items():
        if key.startswith("session."):
            options.add_session_config_entry(key, value)
    return options


def shape_of(tensor: Any) -> list[int]:
    """Return an ONNX tensor's shape, -1 where it is free."""
    return [size if isinstance(size, int) and size >= 0 else -1 for size in tensor.shape or []]


def check_agreement(config: dict[str, Any], kind: str, tensors: Sequence[Any]) -> None:
    """Raise a load error where the configuration's inputs or outputs are not those of the model."""
    actual = {tensor.name: tensor for tensor in tensors}
    for entry in config[kind]:
        tensor = actual.get(entry["name"])
        subject = f"model '{config['name']}', {kind} '{entry['name']}'"
        if tensor is None:
            raise pb_utils.TritonModelException(f"{subject}: the model has {sorted(actual)} only")
        if entry["data_type"] != DATA_TYPES.get(tensor.type):
            text = f"{subject}: the configuration says {entry['data_type']}, the model {tensor.type}"
            raise pb_utils.TritonModelException(text)
        dims = entry["reshape"]["shape"] if "reshape" in entry else entry["dims"]
        said = [-1] * (config["max_batch_size"] > 0) + [int(size) for size in dims]
        if not compatible([] if is_single(tensor) and said == [1] else said, shape_of(tensor)):
            text = f"{subject}: the configuration says shape {said}, the model {shape_of(tensor)}"
            raise pb_utils.TritonModelException(text)
    unfed = set(actual) - {entry["name"] for entry in config[kind]}
    if kind == "input" and unfed:
        raise pb_utils.TritonModelException(f"model '{config['name']}': the configuration lacks inputs {sorted(unfed)}")


def is_single(tensor: Any) -> bool:
    """Tell whether a tensor is a single number, which Triton serves as [1]."""
    return tensor.shape is not None and len(tensor.shape) == 0


def compatible(said: list[int], shape: list[int]) -> bool:
    """Return whether two shapes can describe the same tensor, -1 being any size."""
    return len(said) == len(shape) and all(-1 in (a, b) or a == b for a, b in zip(said, shape, strict=True))


def decoded(array: np.ndarray[Any, Any]) -> np.ndarray[Any, Any]:
    """Return an input as ONNX Runtime takes it: strings as text."""
    return np.vectorize(bytes.decode, otypes=[object])(array) if array.dtype == object and array.size else array


def response(answer: Arrays | str, requested: Sequence[str]) -> Any:
    """Return the inference response with the requested outputs, or with the error."""
    if isinstance(answer, str):
        return pb_utils.InferenceResponse(error=pb_utils.TritonError(answer, pb_utils.TritonError.INVALID_ARG))
    return pb_utils.InferenceResponse([pb_utils.Tensor(name, encoded(answer[name])) for name in requested])


def encoded(array: np.ndarray[Any, Any]) -> np.ndarray[Any, Any]:
    """Return an output as Triton takes it: strings as bytes, memory in order."""
    array = np.atleast_1d(array)
    if array.dtype != object:
        return np.ascontiguousarray(array)
    return np.vectorize(str.encode, otypes=[object])(array) if array.size else array
