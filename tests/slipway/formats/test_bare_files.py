"""What a single file is, by its first bytes and its name, and what its publisher is told."""

import gzip
import io
import json
import pickle
import tarfile
import zipfile
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch

from blocks.errors import UnusableModel
from slipway.formats.bare_files import FileKind, check_torchscript, identify, refuse_unservable

MODULE = torch.nn.Linear(4, 3)


def save_script(path: Path) -> None:
    torch.jit.save(torch.jit.trace(MODULE, torch.ones(1, 4)), str(path))  # type: ignore[no-untyped-call]


def save_exported(path: Path) -> None:
    torch.export.save(torch.export.export(MODULE, (torch.ones(1, 4),)), str(path))


def save_zip(path: Path) -> None:
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("model/1/model.py", "pass")
        archive.writestr("../../outside", "x")


def save_bomb(path: Path) -> None:
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("model/1/model.onnx", bytes(50 * 1024**2))


def save_tar(path: Path) -> None:
    with tarfile.open(path, "w") as archive:
        archive.addfile(tarfile.TarInfo("model/1/model.py"), io.BytesIO())


FILES: dict[str, tuple[str, Callable[[Path], object], FileKind, str]] = {
    "TorchScript": ("m.pt", save_script, FileKind.TORCHSCRIPT, r'backend "pytorch", input .* give it with --config'),
    "state dict": (
        "m.pth",
        lambda path: torch.save(MODULE.state_dict(), path),
        FileKind.PICKLE,
        "is a Python pickle.* runs whatever code is in it; export it to ONNX .* torch.jit.save",
    ),
    "whole module": ("m.pt", lambda path: torch.save(MODULE, path), FileKind.PICKLE, "is a Python pickle"),
    "state dict of old": (
        "m.pt",
        lambda path: torch.save(MODULE.state_dict(), path, _use_new_zipfile_serialization=False),
        FileKind.PICKLE,
        "is a Python pickle",
    ),
    "scikit-learn": ("m.pkl", lambda path: path.write_bytes(pickle.dumps({"a": 1})), FileKind.PICKLE, "is .* skl2onnx"),
    "exported program": ("m.pt2", save_exported, FileKind.EXPORTED, "is a torch.export archive.*torch.onnx.export"),
    "zip": ("m.zip", save_zip, FileKind.ARCHIVE, "is an archive, which is not unpacked here; unpack it and publish"),
    "zip bomb": ("m.zip", save_bomb, FileKind.ARCHIVE, "is an archive"),
    "broken zip": ("m.zip", lambda path: path.write_bytes(b"PK\x03\x04rest"), FileKind.ARCHIVE, "is an archive"),
    "tar": ("m.tar", save_tar, FileKind.ARCHIVE, "is an archive"),
    "tar.gz": ("m.tgz", lambda path: path.write_bytes(gzip.compress(b"x")), FileKind.ARCHIVE, "is an archive"),
    "weights": ("m.safetensors", lambda path: path.write_bytes(b"{}"), FileKind.WEIGHTS, "holds weights without"),
    "Keras": ("m.h5", lambda path: path.write_bytes(b"\x89HDF"), FileKind.KERAS, "is a Keras model; .*tf2onnx"),
    "OpenVINO": (
        "m.xml",
        lambda path: path.write_text("<net/>"),
        FileKind.OPENVINO,
        "is one of .* publish a dir",
    ),
    "plan": ("m.plan", lambda path: path.write_bytes(b"ftrt"), FileKind.PLAN, r'backend "tensorrt", input and output'),
    "xgboost": ("m.json", lambda path: path.write_text(json.dumps({})), FileKind.TREE, '"fil".*"model_type": xgboost_'),
    "LightGBM": ("model.txt", lambda path: path.write_text("tree\n"), FileKind.TREE, '"fil".* lightgbm or treelite'),
    "code": ("model.py", lambda path: path.write_text("pass"), FileKind.CODE, 'backend "python", input and output'),
    "anything": ("m.xyz", lambda path: np.ones(3).tofile(path), FileKind.OTHER, "write one with its backend, input"),
    "nothing": (
        "m.xyz",
        lambda path: path.write_bytes(b""),
        FileKind.OTHER,
        "is no .onnx file, expected a config.pbtxt",
    ),
}


@pytest.mark.parametrize(("name", "save", "kind", "said"), FILES.values(), ids=FILES)
def test_a_file_is_known_and_its_publisher_told_what_to_do(
    tmp_path: Path, name: str, save: Callable[[Path], object], kind: FileKind, said: str
) -> None:
    path = tmp_path / name
    save(path)

    assert identify(path) is kind
    with pytest.raises(UnusableModel, match=f"^model 'm': {said}" if kind.refused else f"^model 'm': .*{said}"):
        refuse_unservable(path, "model 'm'", None)
    if kind.refused is None:
        refuse_unservable(path, "model 'm'", "a configuration")
        return
    with pytest.raises(UnusableModel, match=said):
        refuse_unservable(path, "model 'm'", "a configuration")


def test_only_torchscript_is_for_triton_s_pytorch_backend(tmp_path: Path) -> None:
    save_script(tmp_path / "script.pt")
    torch.save(MODULE.state_dict(), tmp_path / "weights.pt")
    (tmp_path / "text.pt").write_text("x")

    check_torchscript(tmp_path / "script.pt", "m")
    with pytest.raises(UnusableModel, match=r"m: weights.pt is a Python pickle.*; backend 'pytorch' opens what"):
        check_torchscript(tmp_path / "weights.pt", "m")
    with pytest.raises(UnusableModel, match=r"m: text.pt is no TorchScript archive; backend 'pytorch' opens what"):
        check_torchscript(tmp_path / "text.pt", "m")
