"""A complete Triton model directory, logged to MLflow with the flavor triton: any backend, any number of files.

model/config.pbtxt     what the author wrote; may be missing where the model is ONNX
model/<N>/…            versions, of which the one that would answer is taken
model/labels.txt, …    what every version uses; it becomes shared/… of the version

NVIDIA's mlflow-triton-plugin logs it so, and so do the PyPI packages after it.
"""

import re
import shutil
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import NamedTuple

from tritonclient.grpc import model_config_pb2 as pb

from blocks.errors import UnusableModel, bounded
from blocks.labels import CONFIG_FILE, DESCRIPTION_FILE, GOLDEN_FILE, METADATA_FILE, MODEL_FILE
from blocks.repository_layout import SHARED
from slipway.formats import onnx
from slipway.formats.bare_files import check_torchscript
from slipway.formats.called_models import name_called
from slipway.formats.contents import Contents
from slipway.formats.example import list_example_files
from slipway.formats.file_tree import Tree, copy_file, move_files, read_tree
from slipway.formats.mlmodel import find_model_directory, lists_flavor
from slipway.formats.model_config import (
    ENSEMBLE,
    check_config,
    check_declared,
    find_backend,
    find_backend_of,
    find_model_file,
    parse_config,
    read_config,
    read_signature,
)
from slipway.formats.signature import Signature

_VERSION = re.compile(r"[1-9][0-9]{0,17}")
_LIKE_A_VERSION = re.compile(r"\s*[+-]?[0-9]")  # what Triton, which reads a number's beginning, takes for one
_TAKEN = {DESCRIPTION_FILE, GOLDEN_FILE, CONFIG_FILE, METADATA_FILE}
_FOLDERS = {"tensorflow"}  # backends whose model may be a folder


class Layout(NamedTuple):
    """A Triton model directory as a version is made of it."""

    config: str | None
    version: int | None  # None where an ensemble has no folder, as stores that keep only files have it
    files: dict[str, Path]  # by their paths below the version's directory
    golden: Path | None


class TritonDirectory:
    """A model directory as Triton reads it, of any backend."""

    flavor = "triton"

    def matches(self, directory: Path) -> bool:
        """Tell whether MLmodel lists the flavor triton."""
        return lists_flavor(directory, self.flavor)

    def arrange(self, directory: Path, subject: str) -> None:
        """Put the files of the version that would answer where a version's files are, and the model's into shared/."""
        layout = read_layout(find_model_directory(directory, self.flavor, subject), subject)
        kept = {DESCRIPTION_FILE, GOLDEN_FILE, *list_example_files(directory)}
        _refuse_taken(sorted(layout.files.keys() & kept), subject)
        with TemporaryDirectory(dir=directory, prefix=".arranged-") as temporary:
            arranged = Path(temporary)
            if layout.golden is not None and not (directory / GOLDEN_FILE).exists():
                copy_file(layout.golden, directory / GOLDEN_FILE)
            move_files(layout.files, arranged)
            _remove_all(directory, {*kept, arranged.name})
            for entry in arranged.iterdir():
                entry.rename(directory / entry.name)
        if layout.config is not None:
            (directory / CONFIG_FILE).write_text(layout.config)

    def open(self, directory: Path, subject: str) -> Contents:
        """Check the configuration and the files that it names, and say what they hold."""
        text, tree = read_config(directory / CONFIG_FILE, subject), read_tree(directory, subject)
        beside = {DESCRIPTION_FILE, GOLDEN_FILE, CONFIG_FILE, *list_example_files(directory)}
        files = tuple(sorted(tree.files.keys() - beside))
        config = _parse(text, files, subject)
        backend = find_backend(config) or find_backend_of(files)
        model_file = "" if backend == ENSEMBLE else find_model_file(config, backend)
        _check_files(config, backend, model_file, tree, subject)
        is_onnx = backend == onnx.BACKEND
        signature = _read_onnx(config, directory / model_file, subject) if is_onnx else read_signature(config, subject)
        facts: dict[str, str | int] = {"format": self.flavor, "backend": backend}
        return Contents(
            backend=backend,
            model_file=model_file,
            files=files,
            signature=signature,
            precision=onnx.read_precision(directory, subject, model_file) if is_onnx else "FP32",
            config=text,
            depends_on=name_called(config, subject),
            facts=facts | ({"opset": signature.opset, "producer": signature.producer} if is_onnx else {}),
        )


def read_layout(directory: Path, subject: str) -> Layout:
    """Return which of a model directory's files make a version; `UnusableModel` where Triton could not read it."""
    tree = read_tree(directory, subject)
    text = read_config(tree.files.get(CONFIG_FILE, directory / CONFIG_FILE), subject)
    config = parse_config(text or "", subject)
    version = _choose_version(_list_versions(tree, subject), config, subject)
    folder = f"{version}/"
    files = {name.removeprefix(folder): path for name, path in tree.files.items() if name.startswith(folder)}
    if not files and find_backend(config) != ENSEMBLE:
        raise UnusableModel(
            f"{subject}: the folder of version {version} is empty, expected the model in it; put it there"
        )
    _refuse_taken([name for name in files if name in _TAKEN or name.startswith(SHARED)], subject)
    of_model = {name: path for name, path in tree.files.items() if not _VERSION.fullmatch(name.split("/", 1)[0])}
    beside = {f"{SHARED}{name}": path for name, path in of_model.items() if name not in _TAKEN}
    return Layout(text, version, files | beside, tree.files.get(GOLDEN_FILE))


def _list_versions(tree: Tree, subject: str) -> tuple[int, ...]:
    names = [folder for folder in tree.folders if "/" not in folder]
    for name in names:
        if _LIKE_A_VERSION.match(name) and not _VERSION.fullmatch(name):
            raise UnusableModel(
                f"{subject}: Triton takes the folder {bounded(repr(name), 200)} for a version, expected a number from "
                "1 on, of 18 digits at most and nothing else; rename or remove it"
            )
    return tuple(sorted(int(name) for name in names if _VERSION.fullmatch(name)))


def _choose_version(versions: tuple[int, ...], config: pb.ModelConfig, subject: str) -> int | None:
    """Return the version that would answer who names none: the newest that the version policy serves."""
    if not versions and find_backend(config) == ENSEMBLE:
        return None
    if not versions:
        raise UnusableModel(
            f"{subject}: has no folder of a version, expected one with a number as its name, say 1, beside "
            f"{CONFIG_FILE}; put the model's files into it"
        )
    if not config.version_policy.HasField("specific"):
        return versions[-1]
    listed = config.version_policy.specific.versions
    if served := [version for version in versions if version in listed]:
        return served[-1]
    raise UnusableModel(
        f"{subject}: {CONFIG_FILE} serves the versions {list(listed)[:10]}, there are {list(versions)[:10]}; correct "
        "its version_policy"
    )


def _refuse_taken(names: list[str], subject: str) -> None:
    if names:
        raise UnusableModel(
            f"{subject}: the version has a file {bounded(repr(names[0]), 200)}, a name that slipway uses beside a "
            "version's files; rename it"
        )


def _parse(text: str | None, files: tuple[str, ...], subject: str) -> pb.ModelConfig:
    """Return the author's configuration, an empty one where none is needed."""
    config = parse_config(text or "", subject)
    check_config(config, subject)
    if find_backend(config) or find_backend_of(files):
        if text is None and find_backend_of(files) != onnx.BACKEND:
            raise _refuse_without_config(files, subject)
        return config
    if text is None:
        raise _refuse_without_config(files, subject)
    raise UnusableModel(
        f"{subject}: {CONFIG_FILE} names no backend, and no file says which it is ({bounded(list(files), 300)}); add, "
        'say, backend: "python"'
    )


def _refuse_without_config(files: tuple[str, ...], subject: str) -> UnusableModel:
    return UnusableModel(
        f"{subject}: has no {CONFIG_FILE}, which is generated for {MODEL_FILE} alone, and its files are "
        f"{bounded(list(files), 300)}; write one with backend, input and output"
    )


def _check_files(config: pb.ModelConfig, backend: str, model_file: str, tree: Tree, subject: str) -> None:
    """Raise `UnusableModel` where a file is missing that the configuration names, or the backend opens."""
    needed = [name for name in config.cc_model_filenames.values() if not config.default_model_filename] or [model_file]
    for name in filter(None, needed):
        if name in tree.files and not tree.files[name].stat().st_size:
            raise UnusableModel(f"{subject}: the file {bounded(repr(name), 200)} is empty; put the model there again")
        if name in tree.files or (backend in _FOLDERS and name in tree.folders):
            continue
        observed = "is a folder" if name in tree.folders else "is missing"
        raise UnusableModel(
            f"{subject}: backend '{backend}' opens the file {bounded(repr(name), 200)} of the version, which "
            f"{observed}; put it there, or name another as default_model_filename"
        )
    if backend == "pytorch" and model_file in tree.files and not model_file.endswith(".py"):
        check_torchscript(tree.files[model_file], subject)
    beside = {output.label_filename for output in config.output}
    warmup = {f"warmup/{data.input_data_file}" for one in config.model_warmup for data in one.inputs.values()}
    for name in (*sorted(filter(None, beside)), *sorted(warmup - {"warmup/"}), *_list_packs(config)):
        if f"{SHARED}{name}" not in tree.files:
            raise UnusableModel(
                f"{subject}: {CONFIG_FILE} names {bounded(repr(name), 200)}, which is not beside it; put it there"
            )


def _list_packs(config: pb.ModelConfig) -> tuple[str, ...]:
    """Return the Python environment that the configuration has in the model's directory, where it has one there."""
    place = config.parameters["EXECUTION_ENV_PATH"].string_value if "EXECUTION_ENV_PATH" in config.parameters else ""
    _, inside, name = place.partition("$$TRITON_MODEL_DIRECTORY/")
    return (name,) if inside and not re.match("[1-9]", name) else ()


def _read_onnx(config: pb.ModelConfig, path: Path, subject: str) -> Signature:
    """Return what clients send and get, checked against the ONNX file."""
    real = onnx.read_signature(path.parent, subject, path.name)
    check_declared(config, real, onnx.list_optional_inputs(path, subject), subject)
    told = {"opset": real.opset, "producer": real.producer}
    if not (config.input and config.output):
        return real
    return read_signature(config, subject).model_copy(update=told)


def _remove_all(directory: Path, kept: set[str]) -> None:
    for entry in directory.iterdir():
        if entry.name in kept:
            continue
        if entry.is_dir() and not entry.is_symlink():
            shutil.rmtree(entry)
        else:
            entry.unlink()
