"""What all settings have in common: each is an environment variable, `SLIPWAY_` and the field's name in capitals."""

from typing import ClassVar, NamedTuple

from pydantic_settings import BaseSettings, SettingsConfigDict

PREFIX = "SLIPWAY_"


class Settings(BaseSettings):
    """Settings read from the environment when they are made; `docs/settings.md` lists the fields of every kind."""

    model_config = SettingsConfigDict(env_prefix=PREFIX, frozen=True, extra="ignore")

    read_by: ClassVar[str]


class Variable(NamedTuple):
    """An environment variable, as people are told of it."""

    name: str
    type: str
    default: str
    meaning: str


VARIABLES = (
    Variable(
        "SLIPWAY_DEFAULTS", "path", "`flows/defaults.toml`", "Default parameters of the flows and of their steps."
    ),
    Variable(
        "SLIPWAY_OUTPUT_DIR",
        "path",
        "-",
        "Where `slipway script` writes: as each of its options, this one can be given so.",
    ),
    Variable("SLIPWAY_DATA", "path", "`~/.cache/slipway`", "Where a training keeps the data sets it downloads."),
    Variable("SLIPWAY_WORKSPACE", "path", "the system's", "Where each run makes its private directory of model files."),
    Variable("SLIPWAY_HEALTH_URL", "text", "each image's own", "What the health check inside an image asks."),
    Variable("SLIPWAY_TEST_NAMESPACE", "text", "new", "Namespace of `make test-kubernetes`."),
    Variable("SLIPWAY_KEEP_CLUSTER", "text", "-", "Set to anything: `make test-kubernetes` removes nothing."),
)
"""What is no field of settings, since a floor below reads it where it is needed, or a test."""


def name_variable(*location: str | int) -> str:
    """Return the variable that a field is read from, given where pydantic says it found fault with it."""
    return PREFIX + "_".join(map(str, location)).upper()
