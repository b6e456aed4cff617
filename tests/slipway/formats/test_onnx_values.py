"""Whatever an ONNX model takes and gives is named as what it is; NaN is refused in weights, and allowed in masks."""

from pathlib import Path

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper

from blocks.errors import UnusableModel
from slipway.formats.catalogue import arrange_model, open_model
from slipway.formats.onnx import read_precision, read_signature
from tests.apparatus.models import linear_model, random_weights, save

SUBJECT = "model 'm' version 1"


def giving(output: onnx.TypeProto) -> onnx.ModelProto:
    """Return a model whose output is said to be of a type."""
    model = linear_model(random_weights(1))
    model.graph.output[0].type.CopyFrom(output)
    return model


def with_constant(values: np.ndarray) -> onnx.ModelProto:
    """Return a model that adds a constant to its answers."""
    model = linear_model(random_weights(1))
    model.graph.node[0].output[0] = "product"
    model.graph.node.append(helper.make_node("Constant", [], ["mask"], value=numpy_helper.from_array(values, "mask")))
    model.graph.node.append(helper.make_node("Add", ["product", "mask"], ["output"]))
    return model


def with_weight(values: np.ndarray) -> onnx.ModelProto:
    """Return a model that adds a weight to its answers."""
    model = linear_model(random_weights(1))
    model.graph.node[0].output[0] = "product"
    model.graph.initializer.append(numpy_helper.from_array(values, "added"))
    model.graph.node.append(helper.make_node("Add", ["product", "added"], ["output"]))
    return model


MAPS = helper.make_map_type_proto(TensorProto.INT64, helper.make_tensor_type_proto(TensorProto.FLOAT, []))
NUMBERS = helper.make_tensor_type_proto(TensorProto.FLOAT, ["n", 3])


@pytest.mark.parametrize(
    ("output", "said"),
    [
        (helper.make_sequence_type_proto(MAPS), "a sequence of maps, expected a tensor; export with zipmap=False"),
        (helper.make_sequence_type_proto(NUMBERS), "a sequence, expected a tensor"),
        (MAPS, "a map, expected a tensor"),
        (helper.make_optional_type_proto(NUMBERS), "an optional, expected a tensor"),
        (helper.make_sparse_tensor_type_proto(TensorProto.FLOAT, [3]), "a sparse tensor, expected a tensor"),
        (helper.make_tensor_type_proto(TensorProto.FLOAT, None), "has no known rank.* export it again with shapes"),
        (helper.make_tensor_type_proto(TensorProto.BFLOAT16, ["n", 3]), "ONNX type BFLOAT16.* with a cast"),
        (helper.make_tensor_type_proto(TensorProto.COMPLEX64, ["n", 3]), "ONNX type COMPLEX64"),
        (onnx.TypeProto(), "ONNX type UNDEFINED"),
    ],
    ids=lambda value: value[:20] if isinstance(value, str) else "",
)
def test_what_is_no_tensor_that_triton_serves_is_named(tmp_path: Path, output: onnx.TypeProto, said: str) -> None:
    save(tmp_path, giving(output), {})

    with pytest.raises(UnusableModel, match=f"{SUBJECT}: tensor 'output' .*{said}"):
        read_signature(tmp_path, SUBJECT)


@pytest.mark.parametrize(
    "model", [with_constant(np.full(3, np.nan, np.float32)), with_weight(np.array([np.nan], np.float32))]
)
def test_nan_is_no_harm_in_constants_and_scalars(tmp_path: Path, model: onnx.ModelProto) -> None:
    save(tmp_path, model, {})

    assert read_signature(tmp_path, SUBJECT).inputs[0].name == "input"


def test_nan_in_weights_is_refused(tmp_path: Path) -> None:
    save(tmp_path, with_weight(np.array([1, 2, np.nan], np.float32)), {})

    with pytest.raises(UnusableModel, match=r"weight 'added' holds NaN"):
        read_signature(tmp_path, SUBJECT)


def test_an_input_with_a_default_is_not_asked_for(tmp_path: Path) -> None:
    model = with_weight(np.array([1, 2, 3], np.float32))
    model.graph.input.append(helper.make_tensor_value_info("added", TensorProto.FLOAT, [3]))
    save(tmp_path, model, {})

    assert [spec.name for spec in read_signature(tmp_path, SUBJECT).inputs] == ["input"]


@pytest.mark.parametrize(("dtype", "precision"), [(np.float16, "FP16"), (np.float32, "FP32"), (np.float64, "FP64")])
def test_the_precision_is_that_of_most_weights(tmp_path: Path, dtype: type, precision: str) -> None:
    model = with_weight(np.array([1, 2, 3], np.float32))
    model.graph.initializer[0].CopyFrom(numpy_helper.from_array(np.ones((4, 30), dtype), "weights"))
    save(tmp_path, model, {})

    assert read_precision(tmp_path, SUBJECT) == precision


def test_bfloat16_weights_behind_fp32_tensors_are_fine(tmp_path: Path) -> None:
    model = linear_model(random_weights(1))
    model.graph.initializer[0].CopyFrom(
        helper.make_tensor("narrow", TensorProto.BFLOAT16, [4, 3], random_weights(1).flatten())
    )
    model.graph.node.insert(0, helper.make_node("Cast", ["narrow"], ["weights"], to=TensorProto.FLOAT))
    save(tmp_path, model, {})

    assert read_signature(tmp_path, SUBJECT).outputs[0].dtype == "FP32"
    assert read_precision(tmp_path, SUBJECT) == "BF16"


@pytest.mark.parametrize("external", [False, True])
def test_a_bare_file_is_a_model_whatever_its_name(tmp_path: Path, external: bool) -> None:
    save(tmp_path, linear_model(random_weights(1)), {}, external)
    (tmp_path / "MLmodel").unlink()
    (tmp_path / "model.onnx").rename(tmp_path / "classifier.onnx")

    arrange_model(tmp_path, SUBJECT)

    contents = open_model(tmp_path, SUBJECT)
    assert contents.files == ("model.onnx", *(["model.onnx.data"] if external else []))
    assert (contents.backend, contents.precision, contents.config) == ("onnxruntime", "FP32", None)


def test_of_two_bare_files_none_is_chosen(tmp_path: Path) -> None:
    for name in ("a.onnx", "b.onnx"):
        (tmp_path / name).write_bytes(b"weights")

    with pytest.raises(UnusableModel, match=r"\['a.onnx', 'b.onnx'\], expected exactly one.* keep the one to serve"):
        arrange_model(tmp_path, SUBJECT)


def test_external_data_in_a_function_may_not_point_elsewhere_either(tmp_path: Path) -> None:
    model = linear_model(random_weights(1))
    tensor = numpy_helper.from_array(np.ones(3, np.float32), "hidden")
    tensor.ClearField("raw_data")
    tensor.data_location = TensorProto.EXTERNAL
    tensor.external_data.add(key="location", value="../../etc/passwd")
    node = helper.make_node("Constant", [], ["y"], value=tensor)
    model.functions.append(helper.make_function("own", "f", [], ["y"], [node], [helper.make_opsetid("", 20)]))
    (tmp_path / "model.onnx").write_bytes(model.SerializeToString())

    with pytest.raises(UnusableModel, match=r"may not point outside its directory"):
        read_signature(tmp_path, SUBJECT)
