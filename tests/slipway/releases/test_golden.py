"""Golden samples are read only where they are plain arrays of a bounded size that fit the model."""

import io
import zipfile
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from blocks.errors import UnusableModel
from slipway.formats.onnx import read_signature
from slipway.formats.signature import Signature
from slipway.releases.golden import check_golden
from slipway.releases.sample_archive import ARCHIVE_BYTES, read_arrays
from tests.apparatus.models import linear_model, random_weights, save

SUBJECT = "model 'm' version 1"
INPUTS, OUTPUTS = np.zeros((6, 4), np.float32), np.zeros((6, 3), np.float32)


def npz(**arrays: Any) -> bytes:
    """Return an npz; two underscores in a name stand for the slash."""
    content = io.BytesIO()
    np.savez(content, **{name.replace("__", "/"): array for name, array in arrays.items()})
    return content.getvalue()


def zipped(**entries: bytes) -> bytes:
    content = io.BytesIO()
    with zipfile.ZipFile(content, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, entry in entries.items():
            archive.writestr(f"{name.replace('__', '/')}.npy", entry)
    return content.getvalue()


def header(shape: str) -> bytes:
    """Return an npy file that says it is of this shape and holds 16 bytes."""
    text = f"{{'descr': '<f4', 'fortran_order': False, 'shape': {shape}, }}".ljust(117) + "\n"
    return b"\x93NUMPY\x01\x00" + len(text).to_bytes(2, "little") + text.encode() + bytes(16)


@pytest.fixture
def signature(tmp_path: Path) -> Signature:
    save(tmp_path, linear_model(random_weights(1)), {})
    return read_signature(tmp_path, SUBJECT)


@pytest.mark.parametrize(
    "content",
    [
        npz(input__input=INPUTS, output__output=OUTPUTS),
        npz(input__input=INPUTS, output__output=OUTPUTS, onnxruntime__output=OUTPUTS),
    ],
)
def test_samples_of_the_model_are_accepted(tmp_path: Path, signature: Signature, content: bytes) -> None:
    (tmp_path / "golden.npz").write_bytes(content)

    check_golden(tmp_path, signature, SUBJECT)


MALFORMED = {
    "empty": b"",
    "text": b"no archive",
    "truncated": npz(input__input=INPUTS, output__output=OUTPUTS)[:-40],
    "damaged": npz(input__input=INPUTS, output__output=OUTPUTS).replace(bytes(40), b"x" * 40, 1),
    "one array": header("(2, 2)"),
    "objects": npz(input__input=np.array([{"a": 1}] * 6, dtype=object), output__output=OUTPUTS),
    "no arrays": npz(),
    "no outputs": npz(input__input=INPUTS),
    "no inputs": npz(output__output=OUTPUTS),
    "other input": npz(input__image=INPUTS, output__output=OUTPUTS),
    "other output": npz(input__input=INPUTS, output__logits=OUTPUTS),
    "output of gate 2 alone": npz(input__input=INPUTS, output__output=OUTPUTS, onnxruntime__logits=OUTPUTS),
    "other counts": npz(input__input=INPUTS, output__output=OUTPUTS[:5]),
    "no samples": npz(input__input=INPUTS[:0], output__output=OUTPUTS[:0]),
    "single numbers": npz(input__input=np.float32(1), output__output=np.float32(1)),
    "other features": npz(input__input=np.zeros((6, 5), np.float32), output__output=OUTPUTS),
    "other type": npz(input__input=INPUTS.astype(np.float64), output__output=OUTPUTS),
    "a header's lie": zipped(input__input=header("(1000000, 1000000)"), output__output=header("(2, 2)")),
    "a negative size": zipped(input__input=header("(-2, -2)"), output__output=header("(2, 2)")),
    "no array": zipped(input__input=b"\x93NUMPY\x01\x00", output__output=b"pickle"),
}


@pytest.mark.parametrize("content", MALFORMED.values(), ids=MALFORMED)
def test_malformed_samples_are_refused_in_one_bounded_line(
    tmp_path: Path, signature: Signature, content: bytes
) -> None:
    (tmp_path / "golden.npz").write_bytes(content)

    with pytest.raises(UnusableModel, match=rf"{SUBJECT}, golden.npz") as refused:
        check_golden(tmp_path, signature, SUBJECT)

    assert len(str(refused.value)) <= 2000 and "\n" not in str(refused.value)


def test_a_directory_or_a_link_is_no_archive(tmp_path: Path, signature: Signature) -> None:
    (tmp_path / "1" / "golden.npz").mkdir(parents=True)
    (tmp_path / "2").mkdir()
    (tmp_path / "2" / "golden.npz").symlink_to("/etc/passwd")

    for name in "12":
        with pytest.raises(UnusableModel, match=r"golden.npz is no file"):
            check_golden(tmp_path / name, signature, SUBJECT)


def test_an_archive_that_unpacks_to_more_than_is_allowed_is_not_unpacked() -> None:
    content = io.BytesIO()
    with zipfile.ZipFile(content, "w", zipfile.ZIP_DEFLATED) as archive, archive.open("input/input.npy", "w") as entry:
        for _ in range(ARCHIVE_BYTES // 2**20 + 1):
            entry.write(bytes(2**20))

    with pytest.raises(UnusableModel, match=r"513 MiB unpacked, 512 MiB are allowed"):
        read_arrays(content, SUBJECT)
    assert len(content.getvalue()) < 2**20
