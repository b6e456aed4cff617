"""What the event service needs to know."""

from typing import ClassVar

from pydantic import Field, SecretStr, field_validator
from pydantic_settings import SettingsConfigDict

from blocks.registry import ModelRegistry
from infra.settings import Settings

SHORTEST_SECRET = 16


class EventSettings(Settings):
    """Where the event service listens and whom it believes; Prefect's own settings say where Prefect is."""

    model_config = SettingsConfigDict(env_ignore_empty=True)
    read_by: ClassVar[str] = "The event service: `slipway events`"

    mlflow_tracking_uri: str = Field(description="The MLflow server whose registry is listened to.")
    mlflow_username: str | None = Field(None, description="User, where that server asks for basic authentication.")
    mlflow_password: SecretStr | None = Field(None, description="Password of that user.")
    mlflow_token: SecretStr | None = Field(None, description="Bearer token, where it asks for one instead.")
    events_url: str = Field(description="Where that server reaches this service, with the path /webhooks/mlflow.")
    events_host: str = Field("127.0.0.1", description="Address to listen on.")
    events_port: int = Field(8900, ge=1, le=65535, description="Port to listen on.")
    webhook_secret: SecretStr = Field(description="What MLflow signs its deliveries with.")
    webhook_secret_before: SecretStr | None = Field(
        None, description="The secret before it was changed: deliveries on their way are still believed."
    )
    webhook_max_age_s: float = Field(300, gt=0, description="Age beyond which a delivery is refused.")
    webhook_max_bytes: int = Field(65_536, ge=1024, description="Size beyond which a delivery is refused.")
    webhook_check_s: float = Field(
        300, gt=0, description="Seconds between looks for the webhook in MLflow; one that is gone is made anew."
    )
    prefect_timeout_s: float = Field(
        8, gt=0, description="Seconds Prefect may take to accept an event; after that MLflow is asked to try again."
    )

    @field_validator("webhook_secret", "webhook_secret_before")
    @classmethod
    def _require_length(cls, secret: SecretStr | None) -> SecretStr | None:
        if secret is not None and len(secret.get_secret_value()) < SHORTEST_SECRET:
            raise ValueError(f"expected at least {SHORTEST_SECRET} characters: whoever guesses it can release models")
        return secret

    @property
    def registry(self) -> ModelRegistry:
        """The registry that is listened to."""
        return ModelRegistry(
            tracking_uri=self.mlflow_tracking_uri,
            username=self.mlflow_username,
            password=self.mlflow_password,
            token=self.mlflow_token,
        )

    @property
    def secrets(self) -> tuple[bytes, ...]:
        """The secrets a delivery may be signed with."""
        known = (self.webhook_secret, self.webhook_secret_before)
        return tuple(secret.get_secret_value().encode() for secret in known if secret is not None)
