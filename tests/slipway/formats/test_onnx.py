"""A model that is not safe and sound is refused, with what is wrong with it, before anything is changed."""

from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper

from blocks.errors import UnusableModel
from slipway.formats.onnx import find_external_files, read_signature
from tests.apparatus.models import linear_model, random_weights, save

SUBJECT = "model 'm' version 1"


def saved(directory: Path, model: onnx.ModelProto, external: bool = False) -> Path:
    save(directory, model, {}, external)
    return directory


def pointing_at(location: str) -> onnx.ModelProto:
    """Return a model whose weights are said to be at `location`."""
    model = linear_model(random_weights(1))
    weights = model.graph.initializer[0]
    weights.ClearField("raw_data")
    weights.data_location = TensorProto.EXTERNAL
    weights.external_data.add(key="location", value=location)
    return model


def test_the_signature_names_dynamic_axes_and_uses_tritons_types(tmp_path: Path) -> None:
    signature = read_signature(saved(tmp_path, linear_model(random_weights(1))), SUBJECT)

    assert signature.model_dump(mode="json") | {"producer": ""} == {
        "inputs": [{"name": "input", "dtype": "FP32", "shape": ["batch_size", 4]}],
        "outputs": [{"name": "output", "dtype": "FP32", "shape": ["batch_size", 3]}],
        "opset": 20,
        "producer": "",
    }
    assert signature.may_batch


def test_external_data_is_found(tmp_path: Path) -> None:
    saved(tmp_path, linear_model(random_weights(1)), external=True)

    assert find_external_files(tmp_path, SUBJECT) == ("model.onnx.data",)
    assert read_signature(tmp_path, SUBJECT).inputs[0].name == "input"


@pytest.mark.parametrize("location", ["../../etc/passwd", "/etc/passwd", "sub/dir.data", "..", "a/../../b", "..\\x"])
def test_external_data_outside_the_models_directory_is_refused(tmp_path: Path, location: str) -> None:
    saved(tmp_path, pointing_at(location))

    for check in (read_signature, find_external_files):
        with pytest.raises(UnusableModel, match=r"external data at .* may not point outside its directory"):
            check(tmp_path, SUBJECT)


def test_external_data_that_is_a_link_is_refused(tmp_path: Path) -> None:
    saved(tmp_path, pointing_at("model.onnx.data"))
    (tmp_path / "model.onnx.data").symlink_to("/etc/passwd")

    with pytest.raises(UnusableModel, match=r"external data file 'model.onnx.data' is missing"):
        read_signature(tmp_path, SUBJECT)


def test_external_data_in_a_subgraph_is_checked_too(tmp_path: Path) -> None:
    branch = helper.make_graph(
        [helper.make_node("Identity", ["hidden"], ["chosen"])],
        "branch",
        [],
        [helper.make_tensor_value_info("chosen", TensorProto.FLOAT, [4, 3])],
        [pointing_at("../hidden").graph.initializer[0]],
    )
    branch.initializer[0].name = "hidden"
    graph = helper.make_graph(
        [helper.make_node("If", ["condition"], ["output"], then_branch=branch, else_branch=branch)],
        "conditional",
        [helper.make_tensor_value_info("condition", TensorProto.BOOL, [])],
        [helper.make_tensor_value_info("output", TensorProto.FLOAT, [4, 3])],
    )
    saved(tmp_path, helper.make_model(graph))

    with pytest.raises(UnusableModel, match=r"may not point outside"):
        read_signature(tmp_path, SUBJECT)


def test_truncated_external_data_is_refused(tmp_path: Path) -> None:
    saved(tmp_path, linear_model(random_weights(1)), external=True)
    data = tmp_path / "model.onnx.data"
    data.write_bytes(data.read_bytes()[:20])

    with pytest.raises(UnusableModel, match=r"model.onnx.data has 20 bytes.* truncated"):
        read_signature(tmp_path, SUBJECT)


@pytest.mark.parametrize("content", [b"", b"not an onnx file", b"\x08\x0a" + bytes(100)])
def test_a_file_that_is_no_model_is_refused(tmp_path: Path, content: bytes) -> None:
    (tmp_path / "model.onnx").write_bytes(content)

    with pytest.raises(UnusableModel, match=SUBJECT):
        read_signature(tmp_path, SUBJECT)


def test_a_truncated_model_is_refused(tmp_path: Path) -> None:
    saved(tmp_path, linear_model(random_weights(1)))
    model = tmp_path / "model.onnx"
    model.write_bytes(model.read_bytes()[:-30])

    with pytest.raises(UnusableModel, match=SUBJECT):
        read_signature(tmp_path, SUBJECT)


def test_a_directory_without_a_model_is_refused(tmp_path: Path) -> None:
    with pytest.raises(UnusableModel, match=r"has no file model.onnx"):
        read_signature(tmp_path, SUBJECT)


@pytest.mark.parametrize("external", [False, True])
@pytest.mark.parametrize("dtype", [np.float16, np.float32, np.float64])
def test_weights_with_nan_are_refused_in_the_file_and_beside_it(tmp_path: Path, external: bool, dtype: type) -> None:
    weights: np.ndarray = random_weights(1).astype(dtype)
    weights[2, 1] = np.nan
    model = linear_model(random_weights(1))
    model.graph.initializer[0].CopyFrom(numpy_helper.from_array(weights, "weights"))

    with pytest.raises(UnusableModel, match=r"weight 'weights' holds NaN"):
        read_signature(saved(tmp_path, model, external), SUBJECT)


def test_a_graph_that_is_not_valid_onnx_is_refused(tmp_path: Path) -> None:
    model = linear_model(random_weights(1))
    model.graph.node[0].input[0] = "no such tensor"

    with pytest.raises(UnusableModel, match=r"not a valid ONNX model"):
        read_signature(saved(tmp_path, model), SUBJECT)


def external(**entries: str) -> onnx.ModelProto:
    """Return a model whose weights are external data, described by these entries."""
    model = pointing_at(entries.pop("location", "model.onnx.data"))
    for key, value in entries.items():
        model.graph.initializer[0].external_data.add(key=key, value=value)
    return model


def changed(**fields: Any) -> onnx.ModelProto:
    """Return a model whose weights' tensor has other fields."""
    model = linear_model(random_weights(1))
    weights = model.graph.initializer[0]
    for name, value in fields.items():
        if isinstance(value, list):
            getattr(weights, name)[:] = value
        else:
            setattr(weights, name, value)
    return model


def without_inputs() -> onnx.ModelProto:
    model = linear_model(random_weights(1))
    del model.graph.input[:]
    model.graph.node[0].input[0] = "weights"
    return model


@pytest.mark.parametrize(
    "model",
    [
        external(offset="many"),
        external(offset="-8"),
        external(length="ten"),
        external(location="a" * 5000),
        external(location="model.onnx"),
        external(location="metadata.json"),
        external(location="x\n.data"),
        external(location="w\\..\\model.onnx.data"),
        changed(raw_data=b"123"),
        changed(data_type=999),
        changed(dims=[-4, 3]),
        changed(dims=[4_000_000_000, 4_000_000_000]),
        changed(raw_data=b"123", name="n" * 100_000),
        without_inputs(),
        linear_model(random_weights(1), batch=0),
    ],
    ids=lambda model: f"{len(model.SerializeToString())} bytes",
)
def test_whatever_else_is_wrong_with_a_model_is_said_in_one_bounded_line(
    tmp_path: Path, model: onnx.ModelProto
) -> None:
    (tmp_path / "model.onnx.data").write_bytes(bytes(48))
    (tmp_path / "model.onnx").write_bytes(model.SerializeToString())

    with pytest.raises(UnusableModel, match=SUBJECT) as refused:
        find_external_files(tmp_path, SUBJECT)
        read_signature(tmp_path, SUBJECT)

    assert len(str(refused.value)) <= 2000 and "\n" not in str(refused.value)


def test_a_directory_in_place_of_the_model_file_is_refused(tmp_path: Path) -> None:
    (tmp_path / "model.onnx").mkdir()

    with pytest.raises(UnusableModel, match=r"has no file model.onnx"):
        read_signature(tmp_path, SUBJECT)


def test_an_axis_of_negative_size_is_dynamic_as_it_is_to_onnx_runtime(tmp_path: Path) -> None:
    signature = read_signature(saved(tmp_path, linear_model(random_weights(1), batch=-1)), SUBJECT)

    assert signature.inputs[0].shape == ("axis_0", 4) and signature.may_batch
