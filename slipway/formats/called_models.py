"""What a model calls: the steps of an ensemble, and what the author says of code that calls others by BLS.

What code calls cannot be read from it, so its config.pbtxt says it, with a version or without:

    parameters { key: "slipway.depends_on" value { string_value: "tokenizer, encoder:3" } }

A release fills in the versions that are live, and the code finds them where it finds its configuration.
"""

import re
from typing import NamedTuple

from tritonclient.grpc import model_config_pb2 as pb

from blocks.errors import UnusableModel, bounded
from blocks.labels import CONFIG_FILE, DEPENDS_ON_PARAMETER
from blocks.names import MODEL_NAME_PATTERN

_OPEN = 0  # no version: the one that is live is meant
_NAMED = re.compile(rf"(?P<name>{MODEL_NAME_PATTERN.strip('^$')})(:(?P<version>[1-9][0-9]{{0,8}}))?")


class Called(NamedTuple):
    """A model that is called, and in which version; 0: the one that is live."""

    name: str
    version: int = _OPEN


def read_said(config: pb.ModelConfig, subject: str) -> tuple[Called, ...]:
    """Return what the author says that the code calls; `UnusableModel` where that cannot be read."""
    if DEPENDS_ON_PARAMETER not in config.parameters:
        return ()
    text = str(config.parameters[DEPENDS_ON_PARAMETER].string_value)
    found = [_NAMED.fullmatch(entry.strip()) for entry in text.split(",")]
    if any(match is None for match in found):
        raise UnusableModel(
            f"{subject}: {CONFIG_FILE} says {DEPENDS_ON_PARAMETER} {bounded(repr(text), 200)}, expected names of "
            "models with commas between, each with its version or without, say tokenizer, encoder:3; correct it and "
            "register the model again"
        )
    return tuple(Called(match["name"], int(match["version"] or _OPEN)) for match in found if match is not None)


def say_called(config: pb.ModelConfig, called: tuple[Called, ...]) -> None:
    """Write into a configuration what the code calls."""
    text = ",".join(f"{name}:{version}" if version else name for name, version in called)
    config.parameters[DEPENDS_ON_PARAMETER].string_value = text


def list_called(config: pb.ModelConfig, subject: str = CONFIG_FILE) -> tuple[Called, ...]:
    """Return all that a model calls; `UnusableModel` where the author's words cannot be read."""
    steps = [Called(str(step.model_name), max(_OPEN, int(step.model_version))) for step in _get_steps(config)]
    return tuple(dict.fromkeys((*steps, *read_said(config, subject))))


def name_called(config: pb.ModelConfig, subject: str = CONFIG_FILE) -> tuple[str, ...]:
    """Return the names of the models that a model calls."""
    return tuple(dict.fromkeys(called.name for called in list_called(config, subject)))


def _get_steps(config: pb.ModelConfig) -> list[pb.ModelEnsembling.Step]:
    return list(config.ensemble_scheduling.step)
