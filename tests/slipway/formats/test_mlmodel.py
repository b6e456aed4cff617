"""MLmodel says which file is the model; whatever it says instead is refused in one bounded line."""

from itertools import pairwise
from pathlib import Path

import pytest

from blocks.errors import UnusableModel
from slipway.formats.catalogue import arrange_model

SUBJECT = "model 'm' version 1"
BOMB = "\n".join(
    [
        "a: &a [x, x, x, x, x, x, x, x, x]",
        *(f"{name}: &{name} [{', '.join(f'*{before}' for _ in range(9))}]" for before, name in pairwise("abcdefgh")),
    ]
)


def described(directory: Path, content: bytes) -> Path:
    (directory / "MLmodel").write_bytes(content)
    (directory / "other.onnx").write_bytes(b"weights")
    return directory


def test_the_named_file_gets_tritons_name(tmp_path: Path) -> None:
    arrange_model(described(tmp_path, b"flavors:\n  onnx:\n    data: other.onnx\n"), SUBJECT)

    assert (tmp_path / "model.onnx").read_bytes() == b"weights"


def test_an_alias_elsewhere_in_the_file_is_no_harm(tmp_path: Path) -> None:
    content = b"shared: &s [1, 2]\nagain: *s\nflavors: {onnx: {data: other.onnx}}\n"

    arrange_model(described(tmp_path, content), SUBJECT)

    assert (tmp_path / "model.onnx").exists()


@pytest.mark.parametrize(
    "content",
    [
        b"",
        b"- a list",
        b"just text",
        b"\x00\xff\xfe binary \x93",
        b"flavors: [onnx]",
        b"flavors: {onnx: }",
        b"flavors: {onnx: {data: [other.onnx]}}",
        b"flavors: {onnx: {data: {deep: other.onnx}}}",
        b"flavors: {onnx: {data: gone.onnx}}",
        b"flavors: {onnx: {data: ../other.onnx}}",
        b"flavors: {onnx: {data: ..}}",
        b"flavors: {onnx: {data: ''}}",
        b'flavors: {onnx: {data: "zero\\0byte"}}',
        b"flavors: {onnx: {data: " + b"n" * 5000 + b"}}",
        f"{BOMB}\nflavors: {{onnx: {{data: *h}}}}".encode(),
        b"[" * 10_000,
        b"flavors: {onnx: {data: other.onnx}}\n" + b"#" * 2 * 1024**2,
        b"flavors: {onnx: {data: other.onnx}",
        b"!!python/object/apply:os.system [exit]",
    ],
    ids=lambda content: repr(content[:40]),
)
def test_anything_else_is_refused_in_one_bounded_line(tmp_path: Path, content: bytes) -> None:
    with pytest.raises(UnusableModel, match=SUBJECT) as refused:
        arrange_model(described(tmp_path, content), SUBJECT)

    assert len(str(refused.value)) <= 2000 and "\n" not in str(refused.value)


def test_a_directory_called_mlmodel_a_directory_as_model_and_a_single_file_are_refused(tmp_path: Path) -> None:
    (tmp_path / "1" / "MLmodel").mkdir(parents=True)
    (tmp_path / "2" / "model.onnx").mkdir(parents=True)
    (tmp_path / "2" / "MLmodel").write_text("flavors: {onnx: {data: model.onnx}}")
    (tmp_path / "3").write_bytes(b"a model, and no directory")

    for name in "123":
        with pytest.raises(UnusableModel, match=SUBJECT):
            arrange_model(tmp_path / name, SUBJECT)
