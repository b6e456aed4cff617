"""What all settings have in common: each is an environment variable, `SLIPWAY_` and the field's name in capitals."""

from pydantic_settings import BaseSettings, SettingsConfigDict

PREFIX = "SLIPWAY_"


class Settings(BaseSettings):
    """Settings read from the environment when they are made; `docs/settings.md` lists the fields of every kind."""

    model_config = SettingsConfigDict(env_prefix=PREFIX, frozen=True, extra="ignore")


def name_variable(*location: str | int) -> str:
    """Return the variable that a field is read from, given where pydantic says it found fault with it."""
    return PREFIX + "_".join(map(str, location)).upper()
