"""MLmodel, MLflow's description of a model: its flavors, and which of the files beside it is the model."""

from pathlib import Path, PurePosixPath

import yaml

from blocks.errors import UnusableModel, bounded
from blocks.labels import DESCRIPTION_FILE
from slipway.formats.contents import is_plain_file

DESCRIPTION_BYTES = 1024**2


def lists_flavor(directory: Path, flavor: str) -> bool:
    """Tell whether the MLmodel of a directory lists a flavor."""
    return _find(directory, "flavors", flavor) is not None


def find_model_file(directory: Path, flavor: str, subject: str) -> Path:
    """Return the model file as MLmodel names it; `UnusableModel` where it names none of this flavor, or no file."""
    recorded = read_text(directory, "flavors", flavor, "data")
    if recorded is None:
        raise UnusableModel(
            f"{subject}: its files are not those of an ONNX model ({list_names(directory)}); expected one logged with "
            f"mlflow.{flavor}"
        )
    if Path(recorded).name != recorded or not is_plain_file(directory / recorded):
        raise UnusableModel(
            f"{subject}: {DESCRIPTION_FILE} says that the model file is {bounded(repr(recorded), 200)}, expected a "
            f"file beside it ({list_names(directory)}); log the model again with mlflow.{flavor}"
        )
    return directory / recorded


def find_model_directory(directory: Path, flavor: str, subject: str) -> Path:
    """Return the model's directory as MLmodel names it; `UnusableModel` where it names none below itself."""
    recorded = read_text(directory, "flavors", flavor, "data")
    if recorded is None or not _is_directory_below(directory, recorded):
        raise UnusableModel(
            f"{subject}: {DESCRIPTION_FILE} says that its Triton model directory is {bounded(repr(recorded), 200)}, "
            f"expected a directory beside it, as flavors.{flavor}.data ({list_names(directory)}); log it again"
        )
    return directory / recorded


def read_text(directory: Path, *keys: str) -> str | None:
    """Return the text that MLmodel has under nested keys, None where there is no such text."""
    node = _find(directory, *keys)
    return str(node.value) if isinstance(node, yaml.ScalarNode) else None


def list_names(directory: Path) -> str:
    """Return the names of what is in a directory, for messages."""
    names = sorted(path.name for path in directory.iterdir()) if directory.is_dir() else ["a single file"]
    return bounded(names, 300)


def _is_directory_below(directory: Path, recorded: str) -> bool:
    place = PurePosixPath(recorded)
    if place.is_absolute() or ".." in place.parts or not place.parts:
        return False
    try:
        return (directory / place).is_dir() and (directory / place).resolve() == directory.resolve() / place
    except (OSError, ValueError):  # longer than names may be, or with a zero byte
        return False


def _find(directory: Path, *keys: str) -> yaml.Node | None:
    """Return what MLmodel has under nested keys, None where there is nothing.

    The file is parsed but never turned into values: an alias in it stays one node, however often it is referred to.
    """
    path = directory / DESCRIPTION_FILE
    try:
        if not is_plain_file(path) or path.stat().st_size > DESCRIPTION_BYTES:
            return None
        node = yaml.compose(path.read_bytes(), Loader=yaml.SafeLoader)
    except (OSError, ValueError, RecursionError, yaml.YAMLError):
        return None
    for key in keys:
        node = _find_child(node, key)
    return node


def _find_child(node: yaml.Node | None, key: str) -> yaml.Node | None:
    pairs = node.value if isinstance(node, yaml.MappingNode) else []
    return next((value for name, value in pairs if isinstance(name, yaml.ScalarNode) and name.value == key), None)
