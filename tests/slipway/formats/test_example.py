"""MLflow's input example becomes tensors of the model's inputs where it fits them, and nothing where it does not."""

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from slipway.formats.example import read_example
from slipway.formats.signature import Signature, TensorSpec

ONE = (TensorSpec(name="input", dtype="FP32", shape=("batch", 3)),)
TWO = (
    TensorSpec(name="a", dtype="FP32", shape=("batch", 1)),
    TensorSpec(name="b", dtype="INT64", shape=("batch",)),
)
TEXT = (TensorSpec(name="text", dtype="BYTES", shape=("batch",)),)


def read(directory: Path, content: Any, inputs: tuple[TensorSpec, ...]) -> dict[str, np.ndarray] | None:
    info = "saved_input_example_info:\n  artifact_path: input_example.json\n  type: ndarray\n"
    (directory / "MLmodel").write_text(info)
    text = content if isinstance(content, str) else json.dumps(content)
    (directory / "input_example.json").write_text(text)
    return read_example(directory, Signature(inputs=inputs, outputs=inputs, opset=0))


@pytest.mark.parametrize(
    "content", [[[1.0, 2.0, 3.0]], [1, 2, 3], {"inputs": [[1, 2, 3]], "params": {"p": 1}}, {"input": [[1, 2, 3]]}]
)
def test_an_array_is_the_only_input(tmp_path: Path, content: Any) -> None:
    found = read(tmp_path, content, ONE)

    assert found is not None and found["input"].dtype == np.float32
    np.testing.assert_array_equal(found["input"], [[1, 2, 3]])


@pytest.mark.parametrize(
    "content",
    [{"a": [[1.5], [2.5]], "b": [3, 4]}, {"inputs": {"a": [1.5, 2.5], "b": [3, 4]}}],
)
def test_a_dictionary_has_the_inputs_by_name(tmp_path: Path, content: Any) -> None:
    found = read(tmp_path, content, TWO)

    assert found is not None
    np.testing.assert_array_equal(found["a"], [[1.5], [2.5]])
    assert found["b"].dtype == np.int64 and found["b"].tolist() == [3, 4]


def test_a_table_has_the_inputs_as_columns_or_one_input_as_rows(tmp_path: Path) -> None:
    table = {"columns": ["a", "b"], "data": [[1.5, 3], [2.5, 4]]}

    by_column = read(tmp_path, {"dataframe_split": table}, TWO)
    by_row = read(tmp_path, {"columns": ["x", "y", "z"], "data": [[1, 2, 3]]}, ONE)

    assert by_column is not None and by_column["b"].tolist() == [3, 4]
    assert by_row is not None and by_row["input"].tolist() == [[1, 2, 3]]


def test_text_is_text(tmp_path: Path) -> None:
    found = read(tmp_path, '"it\'s fine"', TEXT)

    assert found is not None and found["text"].tolist() == ["it's fine"]


def test_an_npy_file_is_read(tmp_path: Path) -> None:
    (tmp_path / "MLmodel").write_text("saved_input_example_info: {artifact_path: input_example.npy}")
    np.save(tmp_path / "input_example.npy", np.ones((2, 3)))

    found = read_example(tmp_path, Signature(inputs=ONE, outputs=ONE, opset=0))

    assert found is not None and found["input"].shape == (2, 3)


def test_what_mlflow_writes_is_read(tmp_path: Path) -> None:
    from mlflow.models import Model
    from mlflow.models.utils import _save_example

    described = Model()
    _save_example(described, np.ones((2, 3), np.float32), str(tmp_path))
    described.save(str(tmp_path / "MLmodel"))

    found = read_example(tmp_path, Signature(inputs=ONE, outputs=ONE, opset=0))

    assert found is not None and found["input"].tolist() == [[1, 1, 1], [1, 1, 1]]


@pytest.mark.parametrize(
    "content",
    [
        "no json",
        "[" * 100_000,
        [],
        [[1, 2], [3]],
        [[1, 2]],
        [["a", "b", "c"]],
        [[None, 1, 2]],
        {"other": [[1, 2, 3]]},
        {"columns": 1, "data": 2},
        "NaN",
        True,
    ],
    ids=lambda content: repr(content)[:20],
)
def test_what_does_not_fit_is_no_example(tmp_path: Path, content: Any) -> None:
    assert read(tmp_path, content, ONE) is None


@pytest.mark.parametrize("content", [{"a": [[1.5]], "b": [0.5]}, {"a": [[1.5]], "b": [1e300]}, {"a": [[1]]}])
def test_numbers_that_the_type_does_not_have_are_no_example(tmp_path: Path, content: Any) -> None:
    assert read(tmp_path, content, TWO) is None


def test_no_example_is_read_from_elsewhere(tmp_path: Path) -> None:
    (tmp_path / "elsewhere.json").write_text("[[1, 2, 3]]")
    (tmp_path / "model").mkdir()
    (tmp_path / "model" / "MLmodel").write_text("saved_input_example_info: {artifact_path: ../elsewhere.json}")

    assert read_example(tmp_path / "model", Signature(inputs=ONE, outputs=ONE, opset=0)) is None
    assert read_example(tmp_path, Signature(inputs=ONE, outputs=ONE, opset=0)) is None
