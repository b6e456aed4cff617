"""The flows' default parameters, from one file: `defaults.toml`, or the one `SLIPWAY_DEFAULTS` names."""

import os
import tomllib
from pathlib import Path
from typing import Any

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from blocks.errors import InvalidInput
from blocks.names import ModelName, Source


class DeployDefaults(BaseModel):
    """Section [deploy-model]."""

    model_config = ConfigDict(frozen=True, extra="forbid", protected_namespaces=())

    model_name: ModelName
    source: Source
    tolerance: float = Field(gt=0, le=1)


class Defaults(BaseModel):
    """The whole file."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    deploy_model: DeployDefaults = Field(alias="deploy-model")


def load_defaults() -> Defaults:
    """Return the checked defaults; `InvalidInput` names the file and each key that is wrong."""
    path = Path(os.environ.get("SLIPWAY_DEFAULTS", Path(__file__).with_name("defaults.toml")))
    try:
        content: dict[str, Any] = tomllib.loads(path.read_text())
        return Defaults.model_validate(content)
    except (OSError, tomllib.TOMLDecodeError, ValidationError) as error:
        raise InvalidInput(f"defaults file {path}: {error}; mend it or unset SLIPWAY_DEFAULTS") from error
