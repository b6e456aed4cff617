"""The flows' default parameters, from one file: `defaults.toml`, or the one `SLIPWAY_DEFAULTS` names.

A flow's signature takes its defaults from here when it is imported, so that the form in the Prefect UI shows them.
"""

import os
import tomllib
from pathlib import Path
from typing import Any

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from blocks.errors import InvalidInput
from blocks.names import ModelName, Source
from slipway.learning.gate import Criteria
from slipway.learning.parameters import Deploy, TrainingSettings, ValidationTerms
from slipway.learning.served_precision import Variants

LOCATION = "SLIPWAY_DEFAULTS"


class _Section(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid", protected_namespaces=())


# pydantic lists the fields of the last base first
class TrainDefaults(ValidationTerms, Criteria, TrainingSettings):
    """Section [train-model]: everything that train-model takes."""

    deploy: Deploy
    variants: Variants = Field(default=[])


class DeployDefaults(_Section):
    """Section [deploy-model]."""

    model_name: ModelName
    source: Source
    tolerance: float | None = Field(default=None, gt=0, le=1)


class Defaults(_Section):
    """The whole file."""

    train_model: TrainDefaults = Field(alias="train-model")
    deploy_model: DeployDefaults = Field(alias="deploy-model")


_ALLOWED = {
    (): ["train-model", "deploy-model"],
    ("train-model",): list(TrainDefaults.model_fields),
    ("deploy-model",): list(DeployDefaults.model_fields),
}


def load_defaults() -> Defaults:
    """Return the checked defaults; `InvalidInput` names the file, each key that is wrong and what is allowed."""
    path = Path(os.environ.get(LOCATION, Path(__file__).parents[1] / "defaults.toml"))
    try:
        content: dict[str, Any] = tomllib.loads(path.read_text())
        return Defaults.model_validate(content)
    except (OSError, tomllib.TOMLDecodeError) as error:
        raise InvalidInput(f"defaults file {path}: {error}; mend it or unset {LOCATION}") from error
    except ValidationError as error:
        findings = "; ".join(_explain(found["loc"], found["type"], found["msg"]) for found in error.errors())
        raise InvalidInput(f"defaults file {path}: {findings}; mend it or unset {LOCATION}") from error


def _explain(place: tuple[int | str, ...], kind: str, message: str) -> str:
    *section, key = place
    where = f"section [{section[0]}]" if section else "the file"
    if kind == "extra_forbidden":
        allowed = ", ".join(_ALLOWED[tuple(str(part) for part in section)])
        return f"unknown key '{key}' in {where}, allowed are {allowed}"
    return f"key '{key}' in {where}: {message}"
