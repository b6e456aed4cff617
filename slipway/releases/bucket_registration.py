"""Registering what lies in the bucket: a folder that the registry does not know becomes a version of it."""

from pathlib import Path
from tempfile import TemporaryDirectory

from blocks.environment import Environment
from blocks.labels import CONFIG_FILE
from slipway.formats.model_config import find_backend, find_model_file
from slipway.formats.onnx import BACKEND, SUFFIX
from slipway.releases.found_model import FoundModel, FoundVersion
from slipway.releases.publication import Given, publish
from slipway.releases.serving_config import parse_config


def register_folder(model: FoundModel, version: FoundVersion, environment: Environment) -> int:
    """Register a folder's files and return the version: an ONNX model as such, another one as it is configured.

    Raises `UnusableModel` where it could not be released; nothing is registered then.
    """
    repository, name = environment.repository, model.model_name
    config = parse_config(model.config)
    with TemporaryDirectory(prefix="slipway-adopt-") as temporary:
        directory = Path(temporary) / name
        for path in version.sha256:
            into = directory / str(version.version) / path
            into.parent.mkdir(parents=True, exist_ok=True)
            repository.store.download(f"{repository.directory(name, version.version)}{path}", into)
        model_file = directory / str(version.version) / find_model_file(config, find_backend(config))
        is_onnx = find_backend(config) == BACKEND and model_file.suffix == SUFFIX
        if not is_onnx:
            (directory / CONFIG_FILE).write_text(model.config)
        published = publish(model_file if is_onnx else directory, name, Given(), registry=environment.registry)
    return published.version
