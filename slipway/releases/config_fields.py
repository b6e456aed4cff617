"""Which part of a config.pbtxt each of the serving settings is: read from it, written into it, taken out again.

Where NVIDIA's ONNX Runtime backend looks is in its source (github.com/triton-inference-server/onnxruntime_backend,
src/onnxruntime.cc). Of CUDA's options it takes the search for convolutions and the memory limit from the model's
parameters, in codes, whatever the accelerator `cuda` says of them; all others from that accelerator alone.
"""

from collections.abc import Callable
from typing import Any, NamedTuple

from tritonclient.grpc import model_config_pb2 as pb

from slipway.releases.serving_settings import ServingSettings
from slipway.releases.warm_up import make_warm_up

_CONV_SEARCHES = ("exhaustive", "heuristic", "default")  # the codes 0, 1 and 2
_DELAY, _REJECT = pb.ModelQueuePolicy.DELAY, pb.ModelQueuePolicy.REJECT
_CUDA, _TENSORRT, _OPENVINO = "cuda", "tensorrt", "openvino"
_TENSORRT_NAMES = ("tensorrt_precision", "tensorrt_workspace_bytes", "tensorrt_cache_path", "tensorrt_options")
ONNXRUNTIME_ONLY = frozenset(
    {
        "intra_op_threads",
        "inter_op_threads",
        *_TENSORRT_NAMES,
        "use_tf32",
        "cudnn_conv_algo_search",
        "gpu_mem_limit_bytes",
        "openvino",
    }
)


class ConfigField(NamedTuple):
    """One part of a configuration: None is what it is where nothing is said of it."""

    names: tuple[str, ...]
    """The settings that say it."""
    say: Callable[[ServingSettings, pb.ModelConfig], Any]
    """What settings say of it, given what else the configuration has."""
    read: Callable[[pb.ModelConfig], Any]
    write: Callable[[pb.ModelConfig, Any], None]

    def is_as(self, config: pb.ModelConfig, said: ServingSettings) -> bool:
        """Tell whether a configuration has what settings say of it."""
        return bool(self.read(config) == self.say(said, config))


def _field(
    name: str, read: Callable[[pb.ModelConfig], Any], write: Callable[[pb.ModelConfig, Any], None]
) -> ConfigField:
    return ConfigField((name,), lambda settings, _: getattr(settings, name), read, write)


def _write_max_batch_size(config: pb.ModelConfig, size: int | None) -> None:
    config.max_batch_size = size or 0


def _read_preferred(config: pb.ModelConfig) -> tuple[int, ...] | None:
    return tuple(config.dynamic_batching.preferred_batch_size) or None


def _write_preferred(config: pb.ModelConfig, sizes: tuple[int, ...] | None) -> None:
    config.dynamic_batching.ClearField("preferred_batch_size")
    config.dynamic_batching.preferred_batch_size.extend(sizes or ())


def _read_delay(config: pb.ModelConfig) -> int | None:
    # none and a delay of nothing are one to Triton
    return int(config.dynamic_batching.max_queue_delay_microseconds) if config.HasField("dynamic_batching") else None


def _write_delay(config: pb.ModelConfig, delay_us: int | None) -> None:
    config.dynamic_batching.max_queue_delay_microseconds = delay_us or 0


def _queue_field(name: str, key: str) -> ConfigField:
    def read(config: pb.ModelConfig) -> int | None:
        return getattr(config.dynamic_batching.default_queue_policy, key) or None

    def write(config: pb.ModelConfig, value: int | None) -> None:
        setattr(config.dynamic_batching.default_queue_policy, key, value or 0)
        _tidy_queue(config)

    return _field(name, read, write)


def _read_action(config: pb.ModelConfig) -> str | None:
    return "delay" if config.dynamic_batching.default_queue_policy.timeout_action == _DELAY else None


def _write_action(config: pb.ModelConfig, action: str | None) -> None:
    config.dynamic_batching.default_queue_policy.timeout_action = _DELAY if action == "delay" else _REJECT
    _tidy_queue(config)


def _tidy_queue(config: pb.ModelConfig) -> None:
    if not config.dynamic_batching.default_queue_policy.ByteSize():
        config.dynamic_batching.ClearField("default_queue_policy")


def _take_group(config: pb.ModelConfig) -> Any:
    """Return the one group of instances; of several the first stays."""
    if not config.instance_group:
        config.instance_group.add(kind=pb.ModelInstanceGroup.KIND_AUTO)
    del config.instance_group[1:]
    return config.instance_group[0]


def _group_field(name: str, read_one: Callable[[Any], Any], write_one: Callable[[Any, Any], None]) -> ConfigField:
    def read(config: pb.ModelConfig) -> Any:
        found = [read_one(group) for group in config.instance_group]
        return found[0] if len(found) == 1 else tuple(found) if any(found) else None

    def write(config: pb.ModelConfig, value: Any) -> None:
        write_one(_take_group(config), value)

    return _field(name, read, write)


def _write_count(group: Any, count: int | None) -> None:
    group.count = count or 1


def _read_kind(group: Any) -> str | None:
    kind = str(pb.ModelInstanceGroup.Kind.Name(group.kind)).removeprefix("KIND_").lower()
    return None if kind == "auto" else kind


def _write_kind(group: Any, kind: str | None) -> None:
    group.kind = pb.ModelInstanceGroup.Kind.Value(f"KIND_{(kind or 'auto').upper()}")


def _write_gpus(group: Any, gpus: tuple[int, ...] | None) -> None:
    group.ClearField("gpus")
    group.gpus.extend(gpus or ())


def _write_resources(group: Any, resources: dict[str, int] | None) -> None:
    group.rate_limiter.ClearField("resources")
    for name, count in (resources or {}).items():
        group.rate_limiter.resources.add(name=name, count=count)
    _tidy_limiter(group)


def _write_priority(group: Any, priority: int | None) -> None:
    group.rate_limiter.priority = priority or 0
    _tidy_limiter(group)


def _tidy_limiter(group: Any) -> None:
    if not group.rate_limiter.ByteSize():
        group.ClearField("rate_limiter")


def _parameter(name: str, key: str, codes: tuple[str, ...] = ()) -> ConfigField:
    def read(config: pb.ModelConfig) -> Any:
        if key not in config.parameters:
            return None
        text = str(config.parameters[key].string_value)
        if not text.isdecimal():
            return text
        return codes[int(text)] if codes and int(text) < len(codes) else int(text)

    def write(config: pb.ModelConfig, value: Any) -> None:
        config.parameters.pop(key, None)
        if value is not None:
            config.parameters[key].string_value = str(codes.index(value) if value in codes else value)

    return _field(name, read, write)


_INTER_OP = _parameter("inter_op_threads", "inter_op_thread_count")


def _write_inter_op(config: pb.ModelConfig, count: int | None) -> None:
    """Write them, and that operators run side by side: one after the other, nobody reads their number."""
    _INTER_OP.write(config, count)
    config.parameters.pop("execution_mode", None)
    if count is not None:
        config.parameters["execution_mode"].string_value = "1" if count > 1 else "0"


def _list_accelerators(config: pb.ModelConfig, device: str) -> Any:
    return getattr(config.optimization.execution_accelerators, f"{device}_execution_accelerator")


def _read_accelerator(config: pb.ModelConfig, device: str, name: str) -> dict[str, str] | None:
    found = next((each for each in _list_accelerators(config, device) if each.name == name), None)
    return dict(found.parameters) if found is not None else None


def _write_accelerator(config: pb.ModelConfig, device: str, name: str, options: dict[str, str] | None) -> None:
    """Put an accelerator in, or out; TensorRT stands before CUDA, which computes what it leaves."""
    listed = _list_accelerators(config, device)
    others = [each for each in listed if each.name != name]
    new = []
    if options is not None:
        new = [pb.ModelOptimizationPolicy.ExecutionAccelerators.Accelerator(name=name, parameters=options)]
    del listed[:]
    listed.extend([*new, *others] if name == _TENSORRT else [*others, *new])
    if not config.optimization.execution_accelerators.ByteSize():
        config.optimization.ClearField("execution_accelerators")
    if not config.optimization.ByteSize():
        config.ClearField("optimization")


def _say_tensorrt(settings: ServingSettings, _: pb.ModelConfig) -> dict[str, str] | None:
    if settings.tensorrt_precision is None:
        return None
    options = {"precision_mode": settings.tensorrt_precision, **(settings.tensorrt_options or {})}
    if settings.tensorrt_workspace_bytes is not None:
        options["max_workspace_size_bytes"] = str(settings.tensorrt_workspace_bytes)
    if settings.tensorrt_cache_path is not None:
        options |= {"trt_engine_cache_enable": "1", "trt_engine_cache_path": settings.tensorrt_cache_path}
    return options


def _read_tf32(config: pb.ModelConfig) -> bool | None:
    text = (_read_accelerator(config, "gpu", _CUDA) or {}).get("use_tf32")
    return None if text is None else text in {"1", "true"}


def _write_tf32(config: pb.ModelConfig, use: bool | None) -> None:
    options = _read_accelerator(config, "gpu", _CUDA) or {}
    options.pop("use_tf32", None)
    if use is not None:
        options["use_tf32"] = "1" if use else "0"
    _write_accelerator(config, "gpu", _CUDA, options or None)


def _read_openvino(config: pb.ModelConfig) -> bool | None:
    return None if _read_accelerator(config, "cpu", _OPENVINO) is None else True


def _write_openvino(config: pb.ModelConfig, use: bool | None) -> None:
    _write_accelerator(config, "cpu", _OPENVINO, {} if use else None)


def _read_cache(config: pb.ModelConfig) -> bool | None:
    return bool(config.response_cache.enable) if config.HasField("response_cache") else None


def _write_cache(config: pb.ModelConfig, use: bool | None) -> None:
    config.ClearField("response_cache")
    if use is not None:
        config.response_cache.enable = use


def _write_warm_up(config: pb.ModelConfig, samples: list[pb.ModelWarmup] | None) -> None:
    config.ClearField("model_warmup")
    config.model_warmup.extend(samples or ())


# In the order in which they are written: what others depend on comes first.
FIELDS = (
    _field("max_batch_size", lambda config: int(config.max_batch_size), _write_max_batch_size),
    _field("preferred_batch_sizes", _read_preferred, _write_preferred),
    _field("queue_delay_us", _read_delay, _write_delay),
    _queue_field("max_queue_size", "max_queue_size"),
    _queue_field("queue_timeout_us", "default_timeout_microseconds"),
    _field("queue_timeout_action", _read_action, _write_action),
    _group_field("instances", lambda group: int(group.count) or None, _write_count),
    _group_field("instance_kind", _read_kind, _write_kind),
    _group_field("gpus", lambda group: tuple(group.gpus) or None, _write_gpus),
    _group_field(
        "rate_resources",
        lambda group: {each.name: int(each.count) for each in group.rate_limiter.resources} or None,
        _write_resources,
    ),
    _group_field("rate_priority", lambda group: int(group.rate_limiter.priority) or None, _write_priority),
    _parameter("intra_op_threads", "intra_op_thread_count"),
    _INTER_OP._replace(write=_write_inter_op),
    ConfigField(
        _TENSORRT_NAMES,
        _say_tensorrt,
        lambda config: _read_accelerator(config, "gpu", _TENSORRT),
        lambda config, options: _write_accelerator(config, "gpu", _TENSORRT, options),
    ),
    _field("use_tf32", _read_tf32, _write_tf32),
    _parameter("cudnn_conv_algo_search", "cudnn_conv_algo_search", _CONV_SEARCHES),
    _parameter("gpu_mem_limit_bytes", "gpu_mem_limit"),
    _field("openvino", _read_openvino, _write_openvino),
    _field("response_cache", _read_cache, _write_cache),
    ConfigField(
        ("warm_up", "warm_up_batch_sizes", "warm_up_shapes"),
        make_warm_up,
        lambda config: list(config.model_warmup) or None,
        _write_warm_up,
    ),
)
