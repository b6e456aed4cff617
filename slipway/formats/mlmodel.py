"""MLmodel, MLflow's description of a model: which of the files beside it is the model."""

from pathlib import Path

import yaml

from blocks.errors import UnusableModel, bounded
from blocks.labels import DESCRIPTION_FILE
from slipway.formats.contents import is_plain_file

DESCRIPTION_BYTES = 1024**2


def find_model_file(directory: Path, flavor: str, subject: str) -> Path:
    """Return the model file as MLmodel names it; `UnusableModel` where it names none of this flavor, or no file."""
    recorded = _read_name(directory / DESCRIPTION_FILE, flavor)
    if recorded is None:
        raise UnusableModel(
            f"{subject}: its files are not those of an ONNX model ({_list_files(directory)}); expected one logged with "
            f"mlflow.{flavor}"
        )
    if Path(recorded).name != recorded or not is_plain_file(directory / recorded):
        raise UnusableModel(
            f"{subject}: {DESCRIPTION_FILE} says that the model file is {bounded(repr(recorded), 200)}, expected a "
            f"file beside it ({_list_files(directory)}); log the model again with mlflow.{flavor}"
        )
    return directory / recorded


def _read_name(path: Path, flavor: str) -> str | None:
    """Return `flavors.<flavor>.data`, None where there is no such text.

    The file is parsed but never turned into values: an alias in it stays one node, however often it is referred to.
    """
    try:
        if not is_plain_file(path) or path.stat().st_size > DESCRIPTION_BYTES:
            return None
        node = yaml.compose(path.read_bytes(), Loader=yaml.SafeLoader)
    except (OSError, ValueError, RecursionError, yaml.YAMLError):
        return None
    for key in ("flavors", flavor, "data"):
        node = _find_child(node, key)
    return str(node.value) if isinstance(node, yaml.ScalarNode) else None


def _find_child(node: yaml.Node | None, key: str) -> yaml.Node | None:
    pairs = node.value if isinstance(node, yaml.MappingNode) else []
    return next((value for name, value in pairs if isinstance(name, yaml.ScalarNode) and name.value == key), None)


def _list_files(directory: Path) -> str:
    names = sorted(path.name for path in directory.iterdir()) if directory.is_dir() else ["a single file"]
    return bounded(names, 300)
