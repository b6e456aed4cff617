"""TLS to the Triton replicas: whose certificates are trusted, and who we say we are."""

import grpc
from pydantic import BaseModel, ConfigDict, Field, SecretStr, field_validator, model_validator


class TransportSecurity(BaseModel):
    """Certificates and keys, each as PEM text, so that flows on any machine have them with the fleet's block."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    root_certificates: str | None = Field(
        default=None, description="PEM of the authorities that the replicas' certificates come from; none: gRPC's own."
    )
    client_certificate: str | None = Field(
        default=None, description="PEM of our certificate, where the replicas ask who is calling (mutual TLS)."
    )
    client_key: SecretStr | None = Field(default=None, description="PEM of our certificate's private key.")
    server_name: str | None = Field(
        default=None,
        description="Name the replicas' certificates are made out to, where that is not the address: with dns:///, "
        "which finds their IP addresses.",
    )

    @field_validator("root_certificates", "client_certificate", "client_key")
    @classmethod
    def _is_pem(cls, value: str | SecretStr | None) -> str | SecretStr | None:
        text = value.get_secret_value() if isinstance(value, SecretStr) else value
        if text is not None and "-----BEGIN " not in text:
            raise ValueError(f"{len(text)} characters without '-----BEGIN …': expected a PEM text, or a file of it")
        return value

    @model_validator(mode="after")
    def _has_both(self) -> "TransportSecurity":
        if (self.client_certificate is None) != (self.client_key is None):
            raise ValueError("one of client_certificate and client_key alone: expected both, or none")
        return self

    def credentials(self) -> grpc.ChannelCredentials:
        """Return what a gRPC channel is made with."""
        key = self.client_key.get_secret_value() if self.client_key else None
        return grpc.ssl_channel_credentials(
            *(text.encode() if text else None for text in (self.root_certificates, key, self.client_certificate))
        )

    def options(self) -> list[tuple[str, str]]:
        """Return the options that channel needs besides."""
        return [("grpc.ssl_target_name_override", self.server_name)] if self.server_name else []
