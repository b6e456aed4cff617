"""MLmodel, MLflow's description of a model: which of the files beside it is the ONNX model."""

from pathlib import Path

import yaml

from blocks.errors import UnusableModel, bounded
from slipway.formats.onnx import MODEL_FILE, is_plain_file

DESCRIPTION_FILE = "MLmodel"
DESCRIPTION_BYTES = 1024**2


def name_model_file(directory: Path, subject: str) -> None:
    """Give the model file Triton's name for it, as MLmodel says which file it is, never by looking for one."""
    recorded = _recorded_name(directory / DESCRIPTION_FILE)
    if recorded is None:
        raise UnusableModel(
            f"{subject}: its files are not those of an ONNX model ({_listed(directory)}); expected one logged with "
            "mlflow.onnx"
        )
    if Path(recorded).name != recorded or not is_plain_file(directory / recorded):
        raise UnusableModel(
            f"{subject}: {DESCRIPTION_FILE} says that the model file is {bounded(repr(recorded), 200)}, expected a "
            f"file beside it ({_listed(directory)}); log the model again with mlflow.onnx"
        )
    if recorded != MODEL_FILE:
        (directory / recorded).rename(directory / MODEL_FILE)


def _recorded_name(path: Path) -> str | None:
    """Return `flavors.onnx.data`, None where there is no such text.

    The file is parsed but never turned into values: an alias in it stays one node, however often it is referred to.
    """
    try:
        if not is_plain_file(path) or path.stat().st_size > DESCRIPTION_BYTES:
            return None
        node = yaml.compose(path.read_bytes(), Loader=yaml.SafeLoader)
    except (OSError, ValueError, RecursionError, yaml.YAMLError):
        return None
    for key in ("flavors", "onnx", "data"):
        node = _child(node, key)
    return str(node.value) if isinstance(node, yaml.ScalarNode) else None


def _child(node: yaml.Node | None, key: str) -> yaml.Node | None:
    pairs = node.value if isinstance(node, yaml.MappingNode) else []
    return next((value for name, value in pairs if isinstance(name, yaml.ScalarNode) and name.value == key), None)


def _listed(directory: Path) -> str:
    names = sorted(path.name for path in directory.iterdir()) if directory.is_dir() else ["a single file"]
    return bounded(names, 300)
