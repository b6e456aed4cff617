"""What each setting is in a config.pbtxt, what stays of what others wrote there, and what is refused."""

from typing import Any

import pytest
from tritonclient.grpc import model_config_pb2 as pb

from blocks.errors import InvalidInput
from slipway.formats.contents import Contents
from slipway.formats.signature import Signature, TensorSpec
from slipway.releases.config_fields import FIELDS
from slipway.releases.serving_config import generate_config, parse_config
from slipway.releases.serving_settings import ServingSettings
from slipway.releases.tuned_config import apply_settings

SIGNATURE = Signature(
    inputs=(TensorSpec(name="image", dtype="FP32", shape=("batch", 3, "height", 32)),),
    outputs=(TensorSpec(name="output", dtype="FP32", shape=("batch", 10)),),
)
CONTENTS = Contents(backend="onnxruntime", model_file="model.onnx", files=("model.onnx",), signature=SIGNATURE)
GENERATED = generate_config("m", CONTENTS, (1,))
UNBATCHED = generate_config("m", CONTENTS, (1,), 0)
AUTHOR = 'name: "m" backend: "onnxruntime" max_batch_size: 8'
NONE = ServingSettings()


def apply(
    said: dict[str, Any], config: str = GENERATED, before: ServingSettings = NONE, author: str | None = None
) -> str:
    settings = ServingSettings.model_validate(said)
    return apply_settings(config, settings, before, author, "model 'm'")


def parts(said: dict[str, Any], config: str = GENERATED) -> pb.ModelConfig:
    return parse_config(apply(said, config))


def test_what_says_nothing_changes_nothing() -> None:
    assert apply({}) == GENERATED
    assert apply({}, UNBATCHED) == UNBATCHED
    assert parse_config(apply({}, AUTHOR, author=AUTHOR)) == parse_config(AUTHOR)


def test_every_setting_is_a_part_of_the_configuration() -> None:
    names = [name for field in FIELDS for name in field.names]

    assert sorted(names) == sorted(ServingSettings.model_fields)


@pytest.mark.parametrize(
    ("said", "expected"),
    [
        ({"max_batch_size": 16}, "max_batch_size: 16"),
        ({"preferred_batch_sizes": [4, 8]}, "dynamic_batching { preferred_batch_size: [4, 8] }"),
        ({"queue_delay_us": 200}, "dynamic_batching { max_queue_delay_microseconds: 200 }"),
        ({"max_queue_size": 64}, "dynamic_batching { default_queue_policy { max_queue_size: 64 } }"),
        (
            {"queue_timeout_us": 9000, "queue_timeout_action": "delay"},
            "dynamic_batching { default_queue_policy { default_timeout_microseconds: 9000 timeout_action: DELAY } }",
        ),
        ({"instances": 3}, "instance_group { count: 3 }"),
        ({"instance_kind": "cpu"}, "instance_group { count: 1 kind: KIND_CPU }"),
        (
            {"instances": 2, "instance_kind": "gpu", "gpus": [0, 1]},
            "instance_group { count: 2 kind: KIND_GPU gpus: [0, 1] }",
        ),
        (
            {"rate_resources": {"memory": 4}, "rate_priority": 2},
            'instance_group { count: 1 rate_limiter { resources { name: "memory" count: 4 } priority: 2 } }',
        ),
        ({"intra_op_threads": 4}, 'parameters { key: "intra_op_thread_count" value { string_value: "4" } }'),
        (
            {"inter_op_threads": 2},
            'parameters { key: "inter_op_thread_count" value { string_value: "2" } }'
            'parameters { key: "execution_mode" value { string_value: "1" } }',
        ),
        (
            {"tensorrt_precision": "FP16", "tensorrt_workspace_bytes": 2**30, "tensorrt_cache_path": "/engines"},
            'optimization { execution_accelerators { gpu_execution_accelerator { name: "tensorrt" '
            'parameters { key: "precision_mode" value: "FP16" } '
            'parameters { key: "max_workspace_size_bytes" value: "1073741824" } '
            'parameters { key: "trt_engine_cache_enable" value: "1" } '
            'parameters { key: "trt_engine_cache_path" value: "/engines" } } } }',
        ),
        (
            {"use_tf32": False},
            'optimization { execution_accelerators { gpu_execution_accelerator { name: "cuda" '
            'parameters { key: "use_tf32" value: "0" } } } }',
        ),
        (
            {"cudnn_conv_algo_search": "heuristic"},
            'parameters { key: "cudnn_conv_algo_search" value { string_value: "1" } }',
        ),
        ({"gpu_mem_limit_bytes": 2**30}, 'parameters { key: "gpu_mem_limit" value { string_value: "1073741824" } }'),
        (
            {"openvino": True},
            'optimization { execution_accelerators { cpu_execution_accelerator { name: "openvino" } } }',
        ),
        ({"response_cache": True}, "response_cache { enable: true }"),
        (
            {"warm_up": "zeros", "warm_up_shapes": {"image": [3, 64, 32]}},
            'model_warmup { name: "zeros of 1" batch_size: 1 count: 1 inputs { key: "image" '
            "value { data_type: TYPE_FP32 dims: [3, 64, 32] zero_data: true } } }"
            'model_warmup { name: "zeros of 32" batch_size: 32 count: 1 inputs { key: "image" '
            "value { data_type: TYPE_FP32 dims: [3, 64, 32] zero_data: true } } }",
        ),
    ],
)
def test_a_setting_is_written_and_taken_out_again(said: dict[str, Any], expected: str) -> None:
    added, found = parse_config(expected), parts(said)
    for field, _ in added.ListFields():
        ours, theirs = getattr(found, field.name), getattr(added, field.name)
        if field.name == "dynamic_batching" and "queue_delay_us" not in said:
            theirs.max_queue_delay_microseconds = 500
        assert (list(ours) == list(theirs)) if field.name in {"instance_group", "model_warmup"} else ours == theirs

    assert apply({}, apply(said), ServingSettings.model_validate(said)) == GENERATED


def test_tensorrt_stands_before_cuda_which_computes_what_it_leaves() -> None:
    config = parts({"use_tf32": False, "tensorrt_precision": "FP16"})

    listed = config.optimization.execution_accelerators.gpu_execution_accelerator
    assert [accelerator.name for accelerator in listed] == ["tensorrt", "cuda"]


def test_a_model_without_batches_has_a_queue_and_is_warmed_up_with_one_request() -> None:
    said = {"max_queue_size": 8, "warm_up": "random", "warm_up_shapes": {"image": [2, 3, 64, 32]}}

    config = parts(said, UNBATCHED)

    assert config.dynamic_batching.default_queue_policy.max_queue_size == 8
    assert [sample.batch_size for sample in config.model_warmup] == [0]
    assert list(config.model_warmup[0].inputs["image"].dims) == [2, 3, 64, 32]
    assert apply({}, apply(said, UNBATCHED), ServingSettings.model_validate(said)) == UNBATCHED


def test_what_was_changed_by_hand_stays_unless_settings_say_that_very_field() -> None:
    tuned = apply({"instances": 2}).replace("count: 2", "count: 5") + 'metric_tags { key: "team" value: "cats" }'

    kept = parse_config(apply({"queue_delay_us": 9}, tuned, ServingSettings(instances=2)))
    assert (kept.instance_group[0].count, kept.metric_tags["team"]) == (5, "cats")

    said = parse_config(apply({"instances": 3}, tuned, ServingSettings(instances=2)))
    assert (said.instance_group[0].count, said.metric_tags["team"]) == (3, "cats")


def test_what_is_said_no_more_is_what_the_author_wrote() -> None:
    author = f"{AUTHOR} instance_group {{ count: 2 kind: KIND_CPU }}"
    said = ServingSettings(queue_delay_us=9, intra_op_threads=2)

    tuned = apply(said.said, author, author=author)
    assert parse_config(tuned).dynamic_batching.max_queue_delay_microseconds == 9

    assert parse_config(apply({}, tuned, said, author)) == parse_config(author)


@pytest.mark.parametrize(
    ("said", "config", "author", "refused"),
    [
        (
            {"instances": 3},
            f"{AUTHOR} instance_group {{ count: 2 }}",
            f"{AUTHOR} instance_group {{ count: 2 }}",
            r"settings say instances 3, and the config.pbtxt that came with the version 2, .*--unset instances",
        ),
        ({"max_batch_size": 16}, AUTHOR, AUTHOR, "settings say max_batch_size 16, .* 8, expected one of them"),
        ({"max_batch_size": 0}, GENERATED, None, "settings say max_batch_size 0, it is served with 32"),
        ({"max_batch_size": 4}, UNBATCHED, None, "settings say max_batch_size 4, it is served with 0"),
        ({"preferred_batch_sizes": [64]}, GENERATED, None, "go up to 64, max_batch_size is 32"),
        ({"queue_delay_us": 5}, UNBATCHED, None, "served without batching"),
        ({"warm_up": "zeros"}, GENERATED, None, r"'image' is \[3, -1, 32\] .* say image=3x128x32"),
        ({"warm_up": "zeros", "warm_up_shapes": {"image": [3, 9]}}, GENERATED, None, r"warm_up_shapes say \[3, 9\]"),
        (
            {"warm_up": "zeros", "warm_up_shapes": {"image": [3, 9, 32], "x": [1]}},
            GENERATED,
            None,
            "names input 'x', expected one of",
        ),
        ({"intra_op_threads": 2}, 'name: "m" backend: "python"', None, "runs on backend 'python'"),
        ({"instances": 2}, 'name: "m" platform: "ensemble" ensemble_scheduling {}', None, "is an ensemble"),
        (
            {"response_cache": True},
            f"{AUTHOR} model_transaction_policy {{ decoupled: true }}",
            None,
            "is decoupled, .*expected one answer a request",
        ),
        ({"gpus": [1]}, GENERATED, None, "instance_kind is None, expected gpu"),
    ],
)
def test_what_does_not_fit_is_refused(said: dict[str, Any], config: str, author: str | None, refused: str) -> None:
    with pytest.raises(InvalidInput, match=rf"^model 'm': .*{refused}|^{refused}"):
        apply(said, config, author=author)
