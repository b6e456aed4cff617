"""What a config.pbtxt declares is what clients send; one that cannot be served is refused with what to correct."""

import pytest

from blocks.errors import UnusableModel
from slipway.formats.model_config import check_config, check_declared, format_config, parse_config, read_signature
from slipway.formats.signature import Signature, TensorSpec

SUBJECT = "model 'm' version 1"
REAL = Signature(
    inputs=(TensorSpec(name="input", dtype="FP32", shape=("n", 4)),),
    outputs=(TensorSpec(name="output", dtype="INT64", shape=("n",)),),
    opset=20,
)


def declaring(
    *, data_type: str = "TYPE_FP32", dims: str = "[ 4 ]", output: str = "dims: 1 reshape { shape: [] }", batch: int = 8
) -> str:
    """Return a configuration of one input and one output."""
    return (
        f'max_batch_size: {batch} input {{ name: "input" data_type: {data_type} dims: {dims} }} '
        f'output {{ name: "output" data_type: TYPE_INT64 {output} }}'
    )


def test_the_signature_is_what_clients_send() -> None:
    config = parse_config(
        'max_batch_size: 4 input [ { name: "text" data_type: TYPE_STRING dims: [ -1 ] }, '
        '{ name: "n" data_type: TYPE_BF16 dims: [ 1 ] reshape { shape: [] } } ] '
        'output { name: "o" data_type: TYPE_BOOL dims: [ 2, -1 ] }',
        SUBJECT,
    )

    signature = read_signature(config)

    assert [(spec.name, spec.dtype, spec.shape) for spec in (*signature.inputs, *signature.outputs)] == [
        ("text", "BYTES", ("batch", "axis_1")),
        ("n", "BF16", ("batch", 1)),
        ("o", "BOOL", ("batch", 2, "axis_2")),
    ]


def test_without_batches_no_axis_is_added() -> None:
    signature = read_signature(parse_config(declaring(dims="[ -1, 4 ]", batch=0), SUBJECT))

    assert signature.inputs[0].shape == ("axis_0", 4)


def test_a_config_is_formatted_as_it_is_parsed() -> None:
    config = parse_config(declaring(), SUBJECT)

    assert parse_config(format_config(config), SUBJECT) == config


@pytest.mark.parametrize(
    ("config", "optional"),
    [(declaring(), ()), ("max_batch_size: 2", ()), (declaring(dims="[ -1, 4 ]", output="dims: -1", batch=0), ())],
)
def test_what_is_declared_as_it_is_passes(config: str, optional: tuple[str, ...]) -> None:
    check_declared(parse_config(config, SUBJECT), REAL, optional, SUBJECT)


def test_an_input_with_a_default_may_be_declared() -> None:
    config = declaring() + ' input { name: "scale" data_type: TYPE_FP32 dims: 1 }'

    check_declared(parse_config(config, SUBJECT), REAL, ("scale",), SUBJECT)


@pytest.mark.parametrize(
    ("config", "said"),
    [
        (declaring(data_type="TYPE_FP16"), r"'input' as FP16 \[-1, 4\], the model file has it as FP32 \[-1, 4\]"),
        (declaring(dims="[ 5 ]"), r"'input' as FP32 \[-1, 5\]"),
        (declaring(dims="[ -1 ]"), r"'input' as FP32 \[-1, -1\]"),
        (declaring(dims="[ 4, 1 ]"), r"'input' as FP32 \[-1, 4, 1\]"),
        (declaring(output="dims: 1"), r"'output' as INT64 \[-1, 1\]"),
        (declaring().replace('"input"', '"Input"'), r"declares no input \['input'\]"),
        (declaring().replace('"output"', '"Output"'), r"declares output 'Output', the model file has \['output'\]"),
    ],
)
def test_what_is_declared_otherwise_is_refused(config: str, said: str) -> None:
    with pytest.raises(UnusableModel, match=f"{SUBJECT}: config.pbtxt .*{said}.*; correct it"):
        check_declared(parse_config(config, SUBJECT), REAL, (), SUBJECT)


@pytest.mark.parametrize(
    ("config", "said"),
    [
        ("model_transaction_policy { decoupled: true }", "is decoupled.* serve it without slipway"),
        ("sequence_batching {}", "asks for sequence batching.* serve it without slipway"),
        ("max_batch_size: -1", "max_batch_size -1, expected 0"),
        ('backend: "python" platform: "tensorrt_plan"', "backend 'python' and platform 'tensorrt_plan'"),
        ('platform: "ensemble"', "ensemble without steps"),
        ('platform: "ensemble" ensemble_scheduling { step { model_version: 1 } }', "names no model in step 0"),
        ('backend: "python" ensemble_scheduling { step { model_name: "m" } }', "expected 'ensemble'"),
        (f'{declaring()} input {{ name: "input" data_type: TYPE_FP32 dims: 1 }}', "input 'input' more than once"),
        ('input { name: "i" dims: 1 }', "no data_type of input 'i'"),
        ("input { data_type: TYPE_FP32 dims: 1 }", "input without a name"),
        ('input { name: "i" data_type: TYPE_FP32 }', "input 'i' without dims"),
        (declaring(dims="[ 0 ]"), "dims \\[0\\], expected sizes"),
        (declaring(dims="[ -2 ]"), "dims \\[-2\\], expected sizes"),
        (declaring(output="dims: 6 reshape { shape: [ 2, 2 ] }"), "from \\[6\\] to \\[2, 2\\]"),
        ('default_model_filename: "../model.plan"', "the file '../model.plan', expected one inside"),
        ('default_model_filename: "/etc/passwd"', "the file '/etc/passwd'"),
        (declaring(output='dims: 1 label_filename: "../labels.txt"'), "the file '../labels.txt'"),
    ],
)
def test_what_cannot_be_served_is_refused(config: str, said: str) -> None:
    with pytest.raises(UnusableModel, match=f"{SUBJECT}: config.pbtxt .*{said}"):
        check_config(parse_config(config, SUBJECT), SUBJECT)


@pytest.mark.parametrize("text", ["backend: python", "{", "unknown: 1", "input { data_type: TYPE_FP8 }", "\0", "a" * 9])
def test_what_is_no_config_is_refused_with_the_place(text: str) -> None:
    with pytest.raises(UnusableModel, match=f"{SUBJECT}: config.pbtxt is not a Triton model configuration .*correct"):
        parse_config(text, SUBJECT)


def test_a_config_without_outputs_is_no_signature() -> None:
    with pytest.raises(UnusableModel, match=r"declares no outputs, expected each with name, data_type and dims"):
        read_signature(parse_config('input { name: "i" data_type: TYPE_FP32 dims: 1 }', SUBJECT), SUBJECT)
