"""What differs between clusters, from environment variables that start with SLIPWAY_; the chart sets them."""

import re
from typing import Annotated, Any

from pydantic import AfterValidator, Field, SecretStr
from pydantic_settings import BaseSettings, SettingsConfigDict


def _immutable(image: str) -> str:
    if not re.fullmatch(r".+(:(?!latest$)[A-Za-z0-9_][A-Za-z0-9._-]*|@sha256:[0-9a-f]{64})", image):
        raise ValueError(f"image {image!r}: expected a digest or a tag other than latest, which may change")
    return image


Image = Annotated[str, AfterValidator(_immutable)]


class ClusterSettings(BaseSettings):
    """Where flow pods run, and what as."""

    model_config = SettingsConfigDict(env_prefix="SLIPWAY_", frozen=True, extra="ignore")

    namespace: str = Field(description="Namespace of the flow pods.")
    service_account: str = Field("default", description="Account of the flow pods.")
    deployment_image: Image = Field(description="Image of the flows that need no torch.")
    training_image: Image = Field(description="Image of the training flow.")
    pool_variables: dict[str, dict[str, Any]] = Field(
        {}, description='Other defaults for the pools\' variables, say {"gpu": {"memory_request": "4Gi"}}.'
    )
    pool_limits: dict[str, Annotated[int, Field(ge=1)]] = Field(
        {}, description='Flow runs at once in each pool, say {"gpu": 4}; without one as many as are asked for.'
    )


class AlertSettings(BaseSettings):
    """Who is told."""

    model_config = SettingsConfigDict(env_prefix="SLIPWAY_", frozen=True, extra="ignore")

    alerts_url: SecretStr | None = Field(None, description="Receives {text: …} by POST, as Slack's webhooks do.")
