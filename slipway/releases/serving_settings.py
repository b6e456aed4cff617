"""What an operator says of how a model is served, beside what its files say: typed, all of it optional.

What is not said stays as it is generated, as the author wrote it, or as somebody changed it by hand. Which part of
config.pbtxt each field is, see `config_fields.py`; what Triton makes of it: its documentation, "Model Configuration".
"""

import difflib
from collections.abc import Callable, Mapping
from typing import Annotated, Any, Literal, NamedTuple, Self

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field

from blocks.errors import InvalidInput, bounded

MOST_ROWS = 65_536
_HOUR_US = 3_600_000_000
# What NVIDIA's ONNX Runtime backend passes on to TensorRT beside what has a field of its own; it refuses others.
_OPTIONS = """
int8_calibration_table_name int8_use_native_calibration_table trt_auxiliary_streams trt_build_heuristics_enable
trt_builder_optimization_level trt_context_memory_sharing_enable trt_cuda_graph_enable trt_detailed_build_log
trt_dla_core trt_dla_enable trt_dump_ep_context_model trt_dump_subgraphs trt_engine_cache_prefix
trt_ep_context_embed_mode trt_ep_context_file_path trt_extra_plugin_lib_paths trt_force_sequential_engine_build
trt_force_timing_cache trt_layer_norm_fp32_fallback trt_max_partition_iterations trt_min_subgraph_size
trt_profile_max_shapes trt_profile_min_shapes trt_profile_opt_shapes trt_sparsity_enable trt_tactic_sources
trt_timing_cache_enable trt_timing_cache_path
"""
TENSORRT_OPTIONS = frozenset(_OPTIONS.split())


def split_commas(value: object) -> object:
    """Take a text with commas for its parts."""
    return [part.strip() for part in value.split(",") if value.strip()] if isinstance(value, str) else value


def _split_pairs(value: object) -> object:
    """Take NAME=VALUE,NAME=VALUE for what it names; a part without a name belongs to the one before it."""
    if not isinstance(value, str):
        return value
    pairs: dict[str, str] = {}
    for part in value.split(","):
        name, equals, text = part.partition("=")
        if equals:
            last = name.strip()
            pairs[last] = text.strip()
        elif pairs:
            pairs[last] += f",{part}"
        else:
            raise ValueError("expected NAME=VALUE, more of them with commas between")
    return pairs


def _raise_case(value: object) -> object:
    return value.upper() if isinstance(value, str) else value


def _split_shape(value: object) -> object:
    """Take 3x224x224 for its sizes."""
    return value.split("x") if isinstance(value, str) else value


Rows = Annotated[int, Field(ge=1, le=MOST_ROWS)]
RowCounts = Annotated[tuple[Rows, ...], BeforeValidator(split_commas), Field(min_length=1, max_length=16)]
Sizes = Annotated[tuple[Annotated[int, Field(ge=1)], ...], BeforeValidator(_split_shape)]
Microseconds = Annotated[int, Field(ge=1, le=_HOUR_US)]


class ServingSettings(BaseModel):
    """How a model is to be served; a field that is None says nothing."""

    model_config = ConfigDict(frozen=True, extra="ignore")  # what a newer slipway wrote is read, too

    max_batch_size: Annotated[
        int | None, Field(ge=0, le=MOST_ROWS, description="How many rows Triton may join, 0: none; held to the proof.")
    ] = None
    preferred_batch_sizes: Annotated[
        RowCounts | None, Field(description="Sizes that are run at once, without waiting for more: 4,8.")
    ] = None
    queue_delay_us: Annotated[
        int | None, Field(ge=0, le=_HOUR_US, description="How long a request waits for others to join it.")
    ] = None
    max_queue_size: Annotated[
        int | None, Field(ge=1, le=2**31, description="Requests that may wait; what comes on top is refused (503).")
    ] = None
    queue_timeout_us: Annotated[Microseconds | None, Field(description="How long a request may wait in the queue.")] = (
        None
    )
    queue_timeout_action: Annotated[
        Literal["reject", "delay"] | None,
        Field(description="What becomes of one that waited longer: it is refused, or answered after all others."),
    ] = None
    instances: Annotated[
        int | None, Field(ge=1, le=128, description="Copies of the model that compute at the same time; on each GPU.")
    ] = None
    instance_kind: Annotated[
        Literal["auto", "cpu", "gpu"] | None,
        Field(description="Where they compute; auto: on GPUs, where there are."),
    ] = None
    gpus: Annotated[
        Annotated[tuple[Annotated[int, Field(ge=0, le=1023)], ...], BeforeValidator(split_commas), Field(min_length=1)]
        | None,
        Field(description="Numbers of the GPUs to compute on, with instance_kind gpu: 0,1."),
    ] = None
    rate_resources: Annotated[
        Annotated[
            dict[Annotated[str, Field(pattern=r"^[\w.-]{1,64}$")], Annotated[int, Field(ge=1)]],
            BeforeValidator(_split_pairs),
            Field(min_length=1),
        ]
        | None,
        Field(description="What an instance takes of what the models of a device share while it computes: memory=4."),
    ] = None
    rate_priority: Annotated[
        int | None, Field(ge=1, le=2**31, description="Whose turn it is for them: 1 before 2, in proportion.")
    ] = None
    intra_op_threads: Annotated[
        int | None, Field(ge=1, le=1024, description="Threads that compute one operator of an instance together.")
    ] = None
    inter_op_threads: Annotated[
        int | None, Field(ge=1, le=1024, description="Operators of one request that compute at the same time.")
    ] = None
    warm_up: Annotated[
        Literal["zeros", "random"] | None, Field(description="What an instance computes once before it serves.")
    ] = None
    warm_up_batch_sizes: Annotated[
        RowCounts | None, Field(description="In batches of these sizes; left out: 1 and max_batch_size.")
    ] = None
    warm_up_shapes: Annotated[
        Annotated[dict[str, Sizes], BeforeValidator(_split_pairs)] | None,
        Field(description="Shapes of inputs with dynamic axes, without that of the batch: image=3x640x640,ids=128."),
    ] = None
    tensorrt_precision: Annotated[
        Annotated[Literal["FP32", "FP16", "BF16", "INT8"], BeforeValidator(_raise_case)] | None,
        Field(description="Compute with TensorRT on GPUs, in this precision."),
    ] = None
    tensorrt_workspace_bytes: Annotated[
        int | None, Field(ge=2**20, description="GPU memory that TensorRT may take for a while.")
    ] = None
    tensorrt_cache_path: Annotated[
        str | None,
        Field(min_length=1, max_length=1000, description="Directory of the servers that keeps the engines it builds."),
    ] = None
    tensorrt_options: Annotated[
        Annotated[dict[str, str], BeforeValidator(_split_pairs)] | None,
        Field(description="Other options of TensorRT, by NVIDIA's names: trt_builder_optimization_level=5."),
    ] = None
    use_tf32: Annotated[bool | None, Field(description="Whether GPUs compute FP32 in TF32, to three digits.")] = None
    cudnn_conv_algo_search: Annotated[
        Literal["exhaustive", "heuristic", "default"] | None,
        Field(description="How long a GPU looks for the fastest convolution."),
    ] = None
    gpu_mem_limit_bytes: Annotated[
        int | None, Field(ge=2**20, description="GPU memory that an instance may take for what it computes.")
    ] = None
    openvino: Annotated[bool | None, Field(description="Compute with OpenVINO on CPUs.")] = None
    response_cache: Annotated[
        bool | None, Field(description="Answer a request that was answered before from the server's cache.")
    ] = None

    @property
    def said(self) -> dict[str, Any]:
        """What is said, by field, as JSON has it."""
        return self.model_dump(mode="json", exclude_none=True)

    def change(self, given: Mapping[str, Any], unset: tuple[str, ...] = ()) -> Self:
        """Return these settings with others in their place; `InvalidInput` for a name that is no field.

        Raises pydantic's `ValidationError` for a value that a field cannot have.

        Args:
            given: the new values, by field; texts are read as at a prompt.
            unset: fields that say nothing any more.
        """
        for name in (*given, *unset):
            _require_field(name)
        kept = {name: value for name, value in self.said.items() if name not in unset}
        return type(self).model_validate(kept | dict(given))

    def check(self, subject: str) -> None:
        """Raise `InvalidInput` where two fields contradict each other."""
        for contradicts, observed, expected, remedy in _CONTRADICTIONS:
            if contradicts(self):
                raise InvalidInput(f"{subject}: {observed.format(**self.model_dump())}, expected {expected}; {remedy}")
        if unknown := sorted((self.tensorrt_options or {}).keys() - TENSORRT_OPTIONS):
            raise InvalidInput(
                f"{subject}: tensorrt_options names {unknown[0]!r}, expected one of "
                f"{', '.join(sorted(TENSORRT_OPTIONS))}; correct it"
            )


class _Contradiction(NamedTuple):
    contradicts: Callable[[ServingSettings], bool]
    observed: str
    expected: str
    remedy: str


def _computes_elsewhere(settings: ServingSettings) -> bool:
    on_gpu = (settings.tensorrt_precision, settings.use_tf32, settings.cudnn_conv_algo_search)
    return settings.instance_kind == "cpu" and (*on_gpu, settings.gpu_mem_limit_bytes) != (None,) * 4


def _exceeds(settings: ServingSettings, sizes: tuple[int, ...] | None) -> bool:
    return bool(sizes) and bool(settings.max_batch_size) and max(sizes or ()) > (settings.max_batch_size or 0)


_CONTRADICTIONS = (
    _Contradiction(
        lambda s: _exceeds(s, s.preferred_batch_sizes),
        "preferred_batch_sizes are {preferred_batch_sizes}, max_batch_size is {max_batch_size}",
        "none above it",
        "set a larger max_batch_size or smaller sizes",
    ),
    _Contradiction(
        lambda s: s.max_batch_size == 0 and (s.preferred_batch_sizes, s.queue_delay_us) != (None, None),
        "max_batch_size is 0, preferred_batch_sizes {preferred_batch_sizes}, queue_delay_us {queue_delay_us}",
        "nothing of how requests are joined where none are",
        "unset them, or set max_batch_size",
    ),
    _Contradiction(
        lambda s: s.queue_timeout_action is not None and s.queue_timeout_us is None,
        "queue_timeout_action is {queue_timeout_action} and queue_timeout_us is not set",
        "a time after which that is done",
        "set queue_timeout_us, too",
    ),
    _Contradiction(
        lambda s: s.gpus is not None and s.instance_kind != "gpu",
        "gpus are {gpus}, instance_kind is {instance_kind}",
        "gpu",
        "set instance_kind to gpu, or unset gpus",
    ),
    _Contradiction(
        lambda s: bool(s.openvino) and s.instance_kind == "gpu",
        "openvino is set, instance_kind is gpu",
        "cpu, on which alone OpenVINO computes",
        "set instance_kind to cpu, or unset openvino",
    ),
    _Contradiction(
        lambda s: bool(s.openvino) and s.tensorrt_precision is not None,
        "openvino and tensorrt_precision {tensorrt_precision} are set",
        "one of them",
        "unset openvino for GPUs, tensorrt_precision for CPUs",
    ),
    _Contradiction(
        _computes_elsewhere,
        "instance_kind is cpu, tensorrt_precision {tensorrt_precision}, use_tf32 {use_tf32}, cudnn_conv_algo_search "
        "{cudnn_conv_algo_search}, gpu_mem_limit_bytes {gpu_mem_limit_bytes}",
        "nothing of GPUs",
        "unset them, or set instance_kind to gpu",
    ),
    _Contradiction(
        lambda s: (
            s.tensorrt_precision is None
            and (s.tensorrt_workspace_bytes, s.tensorrt_cache_path, s.tensorrt_options) != (None,) * 3
        ),
        "options of TensorRT are set and tensorrt_precision is not",
        "FP32, FP16, BF16 or INT8, which has TensorRT compute",
        "set tensorrt_precision, too",
    ),
    _Contradiction(
        lambda s: s.warm_up is None and (s.warm_up_batch_sizes, s.warm_up_shapes) != (None, None),
        "warm_up_batch_sizes or warm_up_shapes are set and warm_up is not",
        "zeros or random",
        "set warm_up, too",
    ),
    _Contradiction(
        lambda s: _exceeds(s, s.warm_up_batch_sizes),
        "warm_up_batch_sizes are {warm_up_batch_sizes}, max_batch_size is {max_batch_size}",
        "none above it",
        "set a larger max_batch_size or smaller sizes",
    ),
)


def _require_field(name: str) -> None:
    if name in ServingSettings.model_fields:
        return
    near = difflib.get_close_matches(name, ServingSettings.model_fields, 1)
    raise InvalidInput(
        f"settings: {bounded(repr(name), 100)} is none, expected {near[0] if near else 'one of'}"
        f"{'' if near else ' ' + ', '.join(ServingSettings.model_fields)}; correct the name"
    )
