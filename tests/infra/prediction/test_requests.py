"""Requests as files: what is made up is taken, what is wrong is refused before it is sent."""

import json
from pathlib import Path

import pytest

from blocks.errors import InvalidInput
from infra.prediction.requests import make_request, read_request
from infra.prediction.served import Served, Tensor

SERVED = Served(
    "mixed",
    "",
    inputs=(
        Tensor("ids", "INT64", (-1, 4)),
        Tensor("mask", "BOOL", (-1, 4)),
        Tensor("text", "BYTES", (-1, 1)),
        Tensor("pixels", "FP32", (-1, 3, 2, 2)),
    ),
    outputs=(Tensor("scores", "FP32", (-1, 2)),),
)


def test_a_request_that_is_made_up_is_one_the_model_takes(tmp_path: Path) -> None:
    (tmp_path / "input.json").write_text(json.dumps(make_request(SERVED, size=2)))

    read = read_request(tmp_path / "input.json", SERVED)

    kinds = {name: (str(array.dtype), array.shape) for name, array in read.items()}
    assert kinds == {
        "ids": ("int64", (2, 4)),
        "mask": ("bool", (2, 4)),
        "text": ("object", (2, 1)),
        "pixels": ("float32", (2, 3, 2, 2)),
    }


def test_the_same_seed_makes_the_same_request() -> None:
    assert make_request(SERVED, seed=1) == make_request(SERVED, seed=1) != make_request(SERVED, seed=2)


def test_nested_data_is_read_as_flat(tmp_path: Path) -> None:
    tensor = {"name": "ids", "shape": [1, 4], "datatype": "INT64", "data": [[1, 2, 3, 4]]}
    (tmp_path / "input.json").write_text(json.dumps({"inputs": [tensor]}))

    assert read_request(tmp_path / "input.json", SERVED)["ids"].tolist() == [[1, 2, 3, 4]]


@pytest.mark.parametrize(
    ("content", "reason"),
    [
        ("no json", "is no KServe request"),
        ("[]", "is no KServe request"),
        ('{"inputs": [{"name": "ids"}]}', "is no KServe request"),
        ('{"inputs": [{"name": "ids", "shape": [1, 4], "datatype": "INT64", "data": [1]}]}', "is no KServe request"),
        ('{"inputs": []}', r"got no inputs, expected inputs of \['ids', 'mask', 'pixels', 'text'\]"),
        ('{"inputs": [{"name": "x", "shape": [1], "datatype": "INT64", "data": [1]}]}', r"got \['x'\], expected"),
        (
            '{"inputs": [{"name": "ids", "shape": [1, 1], "datatype": "INT64", "data": [1]}]}',
            r"input 'ids' is \[1, 1\], expected \[-1, 4\], -1 being any size",
        ),
    ],
)
def test_another_request_is_refused(tmp_path: Path, content: str, reason: str) -> None:
    (tmp_path / "input.json").write_text(content)

    with pytest.raises(InvalidInput, match=reason):
        read_request(tmp_path / "input.json", SERVED)


def test_a_file_that_is_not_there_says_so(tmp_path: Path) -> None:
    with pytest.raises(InvalidInput, match="No such file"):
        read_request(tmp_path / "input.json", SERVED)
