"""A single file that is no ONNX model, known by its first bytes and its name: what serves it, or why nothing does.

Nothing is unpacked or unpickled here: of an archive the list of names is read, of anything else the beginning.
"""

import zipfile
from enum import Enum
from itertools import islice
from pathlib import Path

from blocks.errors import UnusableModel

_ONNX = "export it to ONNX and publish that file"
_MOST_NAMES = 10_000
_BEGINNING = 512
_PACKED = (b"\x1f\x8b", b"BZh", b"\xfd7zXZ", b"\x28\xb5\x2f\xfd", b"7z\xbc\xaf")  # gzip, bzip2, xz, zstd, 7z
_TAR_AT, _TAR = 257, b"ustar"


class FileKind(Enum):
    """What a file is, and what to say of it: what serves it, given a configuration, or why nothing does."""

    ARCHIVE = "is an archive, which is not unpacked here; unpack it and publish the directory in it"
    PICKLE = (
        "is a Python pickle, as torch.save and joblib write it: it holds objects or weights without what computes with "
        f"them, and opening it runs whatever code is in it; {_ONNX} (torch.onnx.export, skl2onnx), or save a PyTorch "
        "module with torch.jit.save"
    )
    WEIGHTS = f"holds weights without what computes with them; build the module with them and {_ONNX}"
    EXPORTED = f"is a torch.export archive, which Triton's PyTorch backend does not open; {_ONNX} (torch.onnx.export)"
    KERAS = f"is a Keras model; {_ONNX} (tf2onnx), or publish a directory with model.savedmodel"
    OPENVINO = (
        "is one of the two files of an OpenVINO model, without its weights; publish a directory with both as "
        "1/model.xml and 1/model.bin"
    )
    TORCHSCRIPT = "pytorch"
    PLAN = "tensorrt"
    TREE = "fil"
    CODE = "python"
    OTHER = ""

    @property
    def refused(self) -> str | None:
        """Why no backend serves such a file by itself, and what to do; None where one does."""
        return self.value if " " in self.value else None


_BY_SUFFIX = {
    ".plan": FileKind.PLAN,
    ".engine": FileKind.PLAN,
    ".trt": FileKind.PLAN,
    ".py": FileKind.CODE,
    ".ubj": FileKind.TREE,
    ".json": FileKind.TREE,
    ".txt": FileKind.TREE,
    ".tl": FileKind.TREE,
    ".safetensors": FileKind.WEIGHTS,
    ".h5": FileKind.KERAS,
    ".hdf5": FileKind.KERAS,
    ".keras": FileKind.KERAS,
    ".xml": FileKind.OPENVINO,
}
_NEEDS = {  # beside the backend, input and output
    FileKind.TREE: ', and in parameters "model_type": xgboost_json, xgboost_ubj, lightgbm or treelite_checkpoint',
}


def identify(path: Path) -> FileKind:
    """Return what a file is."""
    with path.open("rb") as file:
        begins = file.read(_BEGINNING)
    if begins.startswith(b"PK\x03\x04"):
        return FileKind.KERAS if path.suffix == ".keras" else _identify_zip(path)
    if begins[:1] == b"\x80" and begins[1:2] in (b"\x02", b"\x03", b"\x04", b"\x05"):
        return FileKind.PICKLE
    if begins.startswith(_PACKED) or begins[_TAR_AT:].startswith(_TAR):
        return FileKind.ARCHIVE
    return _BY_SUFFIX.get(path.suffix.lower(), FileKind.OTHER)


def refuse_unservable(path: Path, subject: str, config: str | None) -> None:
    """Raise `UnusableModel` where no backend serves a file, or none is named.

    Args:
        path: the file.
        subject: names the model in messages.
        config: the configuration that is given with it, None where none is.
    """
    kind = identify(path)
    if kind.refused is not None:
        raise UnusableModel(f"{subject}: {kind.refused}")
    if config is not None:
        return
    backend = f'backend "{kind.value}"' if kind.value else "its backend"
    raise UnusableModel(
        f"{subject}: is no .onnx file, expected a config.pbtxt that says which backend serves it, what it takes and "
        f"gives; write one with {backend}, input and output{_NEEDS.get(kind, '')}, and give it with --config"
    )


def check_torchscript(path: Path, subject: str) -> None:
    """Raise `UnusableModel` where a file is not what Triton's PyTorch backend opens."""
    kind = identify(path)
    if kind is not FileKind.TORCHSCRIPT:
        observed = kind.refused or "is no TorchScript archive"
        raise UnusableModel(f"{subject}: {path.name} {observed}; backend 'pytorch' opens what torch.jit.save wrote")


def _identify_zip(path: Path) -> FileKind:
    """Return what a zip archive is: PyTorch's own files are zip archives, too."""
    try:
        with zipfile.ZipFile(path) as archive:
            names = [name.partition("/")[2] for name in islice(archive.namelist(), _MOST_NAMES)]
    except (zipfile.BadZipFile, OSError, ValueError):
        return FileKind.ARCHIVE
    if "archive_format" in names or any(name.startswith("models/") and name.endswith(".json") for name in names):
        return FileKind.EXPORTED
    if "data.pkl" not in names:
        return FileKind.ARCHIVE
    return FileKind.TORCHSCRIPT if any(name.startswith("code/") for name in names) else FileKind.PICKLE
