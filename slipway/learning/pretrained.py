"""The weights that a training begins with: torchvision's, a file's, or those of a registered model."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any, cast

import torch
from torch import Tensor
from torchvision.models import ResNet18_Weights

from blocks.errors import ServiceUnavailable, UnusableModel, bounded
from blocks.registry import ModelRegistry
from slipway.learning.parameters import IMAGENET, IN_REGISTRY
from slipway.learning.weights import load_weights

_NESTED = ("state_dict", "model_state_dict", "model")  # where trainings commonly put it


def load_pretrained(source: str, registry: ModelRegistry) -> Mapping[str, Tensor]:
    """Return the weights that a source names, as a state dict.

    Raises `ServiceUnavailable` where torchvision's cannot be downloaded, `UnusableModel` where a file holds no state
    dict, `NotRegistered` where the registry knows no such version.
    """
    if source == IMAGENET:
        return _download()
    if (named := IN_REGISTRY.fullmatch(source)) is not None:
        version = f"version:{named['version']}" if named["version"] else f"alias:{named['alias']}"
        return load_weights(registry.resolve(named["name"], version), registry)[0].state_dict()
    return _read(Path(source))


def _download() -> Mapping[str, Tensor]:
    weights = ResNet18_Weights.IMAGENET1K_V1
    try:
        return cast(Mapping[str, Tensor], weights.get_state_dict(progress=False, check_hash=True))
    except (OSError, RuntimeError) as error:
        raise ServiceUnavailable(
            f"weights {IMAGENET}: download of {weights.url} failed ({bounded(error, 200)}); download it elsewhere and "
            "give the path of the file as pretrained, or register it and give models:/NAME/VERSION"
        ) from error


def _read(file: Path) -> Mapping[str, Tensor]:
    try:
        found: Any = torch.load(file, map_location="cpu", weights_only=True)  # nothing is unpickled but tensors
    except Exception as error:
        raise UnusableModel(
            f"weights {file}: cannot be read ({bounded(error, 200)}); expected a state dict, as torch.save writes it"
        ) from error
    for name in _NESTED:
        if isinstance(found, Mapping) and isinstance(found.get(name), Mapping):
            found = found[name]
    if not isinstance(found, Mapping) or not all(isinstance(tensor, Tensor) for tensor in found.values()):
        raise UnusableModel(f"weights {file}: hold {type(found).__name__}, expected a state dict of tensors")
    return found
