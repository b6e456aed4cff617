"""config.pbtxt: explicit when it is new, left alone but for the policy when it is not."""

import pytest

from blocks.errors import InvalidInput
from slipway.formats.contents import Contents
from slipway.formats.signature import Signature, TensorSpec
from slipway.releases.serving_config import (
    generate_config,
    make_candidate_config,
    parse_config,
    read_policy,
    update_config,
)

BATCHED_SIGNATURE = Signature(
    inputs=(TensorSpec(name="input", dtype="FP32", shape=("batch_size", 3, 32, 32)),),
    outputs=(TensorSpec(name="output", dtype="FP32", shape=("batch_size", 10)),),
    opset=20,
)
FIXED_SIGNATURE = Signature(
    inputs=(TensorSpec(name="input", dtype="INT64", shape=(1, "length")),),
    outputs=(TensorSpec(name="output", dtype="BYTES", shape=(1, 2)),),
    opset=20,
)
BATCHED, FIXED = (
    Contents(backend="onnxruntime", model_file="model.onnx", files=("model.onnx",), signature=signature)
    for signature in (BATCHED_SIGNATURE, FIXED_SIGNATURE)
)


def test_a_batched_model_gets_explicit_tensors_without_the_batch_axis_and_dynamic_batching() -> None:
    config = parse_config(generate_config("m", BATCHED, (1, 2)))

    assert (config.name, config.backend, config.max_batch_size) == ("m", "onnxruntime", 32)
    assert [(t.name, list(t.dims)) for t in (*config.input, *config.output)] == [
        ("input", [3, 32, 32]),
        ("output", [10]),
    ]
    assert config.HasField("dynamic_batching")
    assert list(config.version_policy.specific.versions) == [1, 2]


def test_a_model_with_a_fixed_batch_is_not_batched() -> None:
    config = parse_config(generate_config("m", FIXED, (1,)))

    assert config.max_batch_size == 0
    assert not config.HasField("dynamic_batching")
    assert [list(t.dims) for t in (*config.input, *config.output)] == [[1, -1], [1, 2]]


def test_what_an_engineer_tuned_is_kept() -> None:
    tuned = (
        generate_config("m", BATCHED, (1,)).replace("count: 1", "count: 4")
        + 'parameters { key: "k" value { string_value: "v" } }'
    )

    updated = parse_config(update_config(tuned, "m", BATCHED, (1, 2)))

    assert updated.instance_group[0].count == 4
    assert updated.parameters["k"].string_value == "v"
    assert list(updated.version_policy.specific.versions) == [1, 2]


def test_a_version_that_takes_something_else_than_the_served_one_is_refused() -> None:
    with pytest.raises(
        InvalidInput, match=r"inputs are input TYPE_INT64 \[1, -1\], those being served are input TYPE_FP32"
    ):
        update_config(generate_config("m", BATCHED, (1,)), "m", FIXED, (1, 2))


def test_a_candidate_is_asked_itself_and_no_cache() -> None:
    cached = generate_config("m", BATCHED, (1, 2)) + "response_cache { enable: true }"

    candidate = parse_config(make_candidate_config(cached, "_candidate.1.m", 2))

    assert (candidate.name, list(candidate.version_policy.specific.versions)) == ("_candidate.1.m", [2])
    assert not candidate.HasField("response_cache")
    assert candidate.max_batch_size == 32


def test_a_file_that_is_no_configuration_is_refused() -> None:
    with pytest.raises(InvalidInput, match="not a Triton model configuration"):
        read_policy("{ no config")


def test_nothing_is_served_before_the_first_release() -> None:
    assert read_policy(None) == ()
    assert read_policy('name: "m"') == ()
