"""What differs between clusters; the chart sets it."""

import re
from typing import Annotated, Any, ClassVar

from pydantic import AfterValidator, Field, SecretStr

from infra.settings import Settings


def _require_immutable(image: str) -> str:
    if not re.fullmatch(r".+(:(?!latest$)[A-Za-z0-9_][A-Za-z0-9._-]*|@sha256:[0-9a-f]{64})", image):
        raise ValueError(f"image {image!r}: expected a digest or a tag other than latest, which may change")
    return image


Image = Annotated[str, AfterValidator(_require_immutable)]


class ClusterSettings(Settings):
    """Where flow pods run, and what as; the chart `slipway` sets it."""

    read_by: ClassVar[str] = "Set-up of a cluster: `slipway setup kubernetes`"

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


class AlertSettings(Settings):
    """Who is told."""

    read_by: ClassVar[str] = "Alerts: `slipway setup`"

    alerts_url: SecretStr | None = Field(None, description="Receives {text: …} by POST, as Slack's webhooks do.")
