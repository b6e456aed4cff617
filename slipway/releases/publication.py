"""Publication: a model on disk becomes a registered version, checked before anything is registered.

A path is an ONNX file, a directory with one, a directory that mlflow.onnx wrote, a Triton model directory, or a model
file of another backend, which needs a configuration.
"""

import re
from pathlib import Path
from tempfile import TemporaryDirectory

import yaml
from pydantic import BaseModel, ConfigDict, Field

from blocks.checksums import FileDigest
from blocks.errors import UnusableModel, bounded
from blocks.labels import (
    CHECKSUM_TAG,
    CONFIG_FILE,
    DEPLOY,
    DESCRIPTION_FILE,
    GOLDEN_FILE,
    LABELS_FILE,
    MODEL_FILE,
    RELEASED_BY_TAG,
)
from blocks.registry import ModelRegistry
from slipway.formats.bare_files import refuse_unservable
from slipway.formats.called_models import name_called
from slipway.formats.catalogue import arrange_model, open_model
from slipway.formats.contents import Contents, is_plain_file
from slipway.formats.file_tree import copy_file, put_file, read_tree
from slipway.formats.mlmodel import find_model_directory, find_model_file, lists_flavor
from slipway.formats.model_config import find_backend, format_config, parse_config, read_config
from slipway.formats.model_config import find_model_file as find_file_of_backend
from slipway.formats.onnx import SUFFIX, Onnx, find_bare_model, find_external_files
from slipway.formats.triton_directory import TritonDirectory, read_layout
from slipway.releases.golden import check_golden

LABELS_BYTES = 16 * 1024**2
_DIRECTORY = "model"  # in which the artifact of flavor triton has the model's directory
_TAGGABLE = re.compile(r"[/\w.\- :]{1,240}", re.ASCII)  # what MLflow takes as the name of a tag
_MOST_TAGS = 100


class Given(BaseModel):
    """What is published beside a model's own files, each a path."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    config: Path | None = None
    golden: Path | None = None
    labels: Path | None = None


class Publication(BaseModel):
    """A model that was published: the version it became, and what it holds."""

    model_config = ConfigDict(frozen=True, extra="forbid", protected_namespaces=())

    model_name: str
    version: int
    format: str = Field(description="The flavor it is registered with: onnx or triton.")
    backend: str = Field(description="The Triton backend that serves it.")
    sha256: dict[str, str] = Field(description="Of each file, by its path below the version's directory.")
    depends_on: tuple[str, ...] = ()
    deploys: bool = Field(default=False, description="Whether the alias `deploy` was set on it.")


def publish(
    path: Path,
    model_name: str,
    given: Given,
    *,
    registry: ModelRegistry,
    tags: dict[str, str] | None = None,
    deploy: bool = False,
) -> Publication:
    """Check a model, register it, and set `deploy` on it where that is asked for.

    Raises `UnusableModel` where it cannot be released; nothing is registered then.
    """
    with TemporaryDirectory(prefix="slipway-publish-") as temporary:
        artifact = Path(temporary) / "artifact"
        stage(path, model_name, given, artifact)
        contents, digests = inspect(artifact, model_name, Path(temporary) / "arranged")
        registered = registry.register(model_name, artifact, _make_tags(contents, digests) | (tags or {}))
    if deploy:
        registry.tag_model(model_name, {RELEASED_BY_TAG: DEPLOY})
        registry.set_alias(model_name, DEPLOY, registered.version)
    return Publication(
        model_name=model_name,
        version=registered.version,
        format=str(contents.facts["format"]),
        backend=contents.backend,
        sha256={digest.name: digest.sha256 for digest in digests},
        depends_on=contents.depends_on,
        deploys=deploy,
    )


def stage(path: Path, model_name: str, given: Given, artifact: Path) -> None:
    """Lay out a model as MLflow keeps it, in a directory that is created; `UnusableModel` where it is none."""
    subject = name_publication(path, model_name)
    artifact.mkdir(parents=True)
    if not path.exists():
        raise UnusableModel(f"{subject}: there is no such file or directory; correct the path")
    if _is_onnx(path):
        _stage_onnx(path, given, artifact, subject)
    elif path.is_dir():
        _stage_directory(path, given, artifact, subject)
    else:
        _stage_file(path, given, artifact, subject)
    if (artifact / _DIRECTORY).is_dir():
        _complete_config(artifact / _DIRECTORY, model_name, given.labels, subject)
    if given.golden is not None:
        _put_given(given.golden, artifact / GOLDEN_FILE, "golden samples", subject)


def inspect(artifact: Path, model_name: str, arranged: Path) -> tuple[Contents, tuple[FileDigest, ...]]:
    """Check what a release would find in an artifact, and return it with the digest of each file.

    Args:
        artifact: the directory to register.
        model_name: the model it is to be a version of.
        arranged: a directory that is created, for the files as a version has them.
    """
    subject = f"model '{model_name}', to be published"
    for name, source in read_tree(artifact, subject).files.items():
        copy_file(source, arranged / name)
    arrange_model(arranged, subject)
    contents = open_model(arranged, subject)
    if model_name in contents.depends_on:
        raise UnusableModel(f"{subject}: it calls itself; name another model")
    check_golden(arranged, contents.signature, subject)
    beside = [name for name in (GOLDEN_FILE, CONFIG_FILE) if (arranged / name).exists()]
    return contents, tuple(FileDigest.of(arranged / name, name) for name in (*beside, *contents.files))


def name_publication(path: Path, model_name: str) -> str:
    """Return what messages call a model that is not registered yet."""
    return f"model '{model_name}' from {bounded(repr(str(path)), 200)}"


def _is_onnx(path: Path) -> bool:
    """Tell whether a path is an ONNX file, or a directory of one without Triton's layout."""
    if path.is_file():
        return path.suffix == SUFFIX
    if lists_flavor(path, TritonDirectory.flavor) or (path / CONFIG_FILE).exists():
        return False
    if lists_flavor(path, Onnx.flavor):
        return True
    entries = list(path.iterdir())
    has_versions = any(entry.name.isdecimal() and entry.is_dir() for entry in entries)
    return not has_versions and any(entry.suffix == SUFFIX for entry in entries)


def _stage_onnx(path: Path, given: Given, artifact: Path, subject: str) -> None:
    """Lay out an ONNX model as mlflow.onnx does; as a Triton directory where there is a configuration or labels."""
    is_logged = lists_flavor(path, Onnx.flavor)
    found = _find_onnx(path, is_logged, subject)
    if given.config is not None or given.labels is not None:
        model = artifact / _DIRECTORY
        _put_onnx(found, model / "1", subject)
        _describe(artifact, TritonDirectory.flavor, _DIRECTORY)
        if given.config is not None:
            _put_config(given.config, model, subject)
        if is_logged and is_plain_file(path / GOLDEN_FILE):
            put_file(path / GOLDEN_FILE, artifact / GOLDEN_FILE)
    elif is_logged:
        for name, source in read_tree(path, subject).files.items():
            put_file(source, artifact / name)
    else:
        _put_onnx(found, artifact, subject)
        _describe(artifact, Onnx.flavor, MODEL_FILE)
        if path.is_dir() and is_plain_file(path / GOLDEN_FILE):
            put_file(path / GOLDEN_FILE, artifact / GOLDEN_FILE)


def _find_onnx(path: Path, is_logged: bool, subject: str) -> Path:
    if path.is_file():
        return path.resolve()
    return find_model_file(path, Onnx.flavor, subject) if is_logged else find_bare_model(path, subject)


def _stage_directory(path: Path, given: Given, artifact: Path, subject: str) -> None:
    """Lay out a Triton model directory: of its versions the one that would answer, links as the files they lead to."""
    is_logged = lists_flavor(path, TritonDirectory.flavor)
    directory = find_model_directory(path, TritonDirectory.flavor, subject) if is_logged else path
    layout, tree = read_layout(directory, subject), read_tree(directory, subject)
    folder = f"{layout.version}/"
    for name, source in tree.files.items():
        if name.startswith(folder) or not re.match(r"[0-9]+/", name):
            put_file(source, artifact / _DIRECTORY / name)
    if is_logged and is_plain_file(path / GOLDEN_FILE):
        put_file(path / GOLDEN_FILE, artifact / GOLDEN_FILE)
    _describe(artifact, TritonDirectory.flavor, _DIRECTORY)
    (artifact / _DIRECTORY).mkdir(exist_ok=True)
    if given.config is not None:
        _put_config(given.config, artifact / _DIRECTORY, subject)


def _stage_file(path: Path, given: Given, artifact: Path, subject: str) -> None:
    """Lay out a model file of a backend that the configuration names, under the name that the backend opens."""
    if not is_plain_file(path.resolve()):
        raise UnusableModel(f"{subject}: is neither a file nor a directory; publish one of them")
    text = _put_config(given.config, artifact / _DIRECTORY, subject) if given.config is not None else None
    refuse_unservable(path.resolve(), subject, text)
    config = parse_config(text or "", subject)
    name = find_file_of_backend(config, find_backend(config))
    if not name or "/" in name:
        raise UnusableModel(
            f"{subject}: the configuration does not say under which name backend '{find_backend(config)}' opens the "
            "file; add default_model_filename, or publish a directory"
        )
    put_file(path.resolve(), artifact / _DIRECTORY / "1" / name)
    _describe(artifact, TritonDirectory.flavor, _DIRECTORY)


def _complete_config(directory: Path, model_name: str, labels: Path | None, subject: str) -> None:
    """Check the name in a configuration, and have it name the labels that are given."""
    text = read_config(directory / CONFIG_FILE, subject)
    config = parse_config(text or "", subject)
    if config.name not in {"", model_name}:
        raise UnusableModel(
            f"{subject}: {CONFIG_FILE} is of model '{bounded(config.name, 200)}', expected '{model_name}'; leave the "
            "name out, or publish it under that name"
        )
    if model_name in name_called(config, subject):
        raise UnusableModel(f"{subject}: it calls itself; name another model")
    if labels is None:
        return
    if text is None:  # a release generates one, which names them
        _put_given(labels, directory / LABELS_FILE, "labels", subject)
        _check_labels(directory / LABELS_FILE, subject)
        return
    if not config.output:
        raise UnusableModel(
            f"{subject}: there are labels, and {CONFIG_FILE} declares no output that they could be of; declare one"
        )
    named = [output.label_filename for output in config.output if output.label_filename]
    if not named:
        config.output[0].label_filename = LABELS_FILE
        (directory / CONFIG_FILE).unlink()  # which may be the author's own file, linked
        (directory / CONFIG_FILE).write_text(format_config(config))
    place = directory / (named[0] if named and Path(named[0]).name == named[0] else LABELS_FILE)
    place.unlink(missing_ok=True)
    _put_given(labels, place, "labels", subject)
    _check_labels(place, subject)


def _check_labels(path: Path, subject: str) -> None:
    try:
        text = path.read_text(encoding="utf-8") if path.stat().st_size <= LABELS_BYTES else ""
    except ValueError:
        text = ""
    if not text.strip():
        raise UnusableModel(
            f"{subject}: the labels are no text in UTF-8 of {LABELS_BYTES} bytes at most; write one name a line"
        )


def _put_onnx(found: Path, target: Path, subject: str) -> None:
    """Put an ONNX file and its external data into a directory, under the name that Triton expects."""
    for external in find_external_files(found.parent, subject, found.name):
        copy_file(found.parent / external, target / external)
    put_file(found, target / MODEL_FILE)


def _put_config(config: Path, directory: Path, subject: str) -> str:
    """Put a configuration in the place of a directory's own, and return its text."""
    text = read_config(config.resolve(), subject)
    if text is None:
        raise UnusableModel(f"{subject}: there is no configuration {bounded(repr(str(config)), 200)}; correct the path")
    directory.mkdir(parents=True, exist_ok=True)
    (directory / CONFIG_FILE).unlink(missing_ok=True)
    (directory / CONFIG_FILE).write_text(text)
    return text


def _put_given(source: Path, target: Path, what: str, subject: str) -> None:
    if not is_plain_file(source.resolve()):
        raise UnusableModel(
            f"{subject}: there are no {what} at {bounded(repr(str(source)), 200)}, expected a file; correct the path"
        )
    target.unlink(missing_ok=True)
    put_file(source.resolve(), target)


def _describe(artifact: Path, flavor: str, data: str) -> None:
    """Write the MLmodel of an artifact."""
    (artifact / DESCRIPTION_FILE).unlink(missing_ok=True)
    (artifact / DESCRIPTION_FILE).write_text(yaml.safe_dump({"flavors": {flavor: {"data": data}}}))


def _make_tags(contents: Contents, digests: tuple[FileDigest, ...]) -> dict[str, str]:
    """Return the checksum of each file as a tag; of very many files, of those that matter most."""
    first = {contents.model_file, GOLDEN_FILE, CONFIG_FILE}
    sorted_digests = sorted(digests, key=lambda digest: digest.name not in first)
    taggable = [digest for digest in sorted_digests if _TAGGABLE.fullmatch(digest.name)]
    return {f"{CHECKSUM_TAG}{digest.name}": digest.sha256 for digest in taggable[:_MOST_TAGS]}
