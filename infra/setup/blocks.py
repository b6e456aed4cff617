"""The block documents: created, or brought up to date from the settings that are given."""

from pathlib import Path
from typing import Annotated, Any, TypeVar, cast

from prefect.blocks.core import Block
from prefect_aws.client_parameters import AwsClientParameters
from prefect_aws.credentials import AwsCredentials
from prefect_aws.s3 import S3Bucket
from pydantic import BeforeValidator, SecretStr
from pydantic_settings import SettingsConfigDict

from blocks.checkpoints import Checkpoints
from blocks.environment import DOCUMENT, MODELS_DOCUMENT, RESULTS_DOCUMENT
from blocks.fleet import TritonFleet
from blocks.registry import ModelRegistry
from blocks.repository import ModelRepository
from blocks.transport_security import TransportSecurity
from infra.settings import Settings

T = TypeVar("T", bound=Block)


def _pem(value: object) -> object:
    """Return a PEM text as it is given, or as the file has it whose path is given."""
    if not isinstance(value, str) or "-----BEGIN " in value:
        return value
    try:
        return Path(value).read_text()
    except (OSError, ValueError) as error:
        raise ValueError(f"neither a PEM text nor a file of one ({error})") from error


Pem = Annotated[str, BeforeValidator(_pem)]


class Addresses(Settings):
    """Where the outside systems are, from environment variables that start with SLIPWAY_; an empty one is not given."""

    model_config = SettingsConfigDict(env_ignore_empty=True)

    mlflow_tracking_uri: str
    mlflow_username: str | None = None
    mlflow_password: SecretStr | None = None
    mlflow_token: SecretStr | None = None
    s3_endpoint_url: str | None = None
    s3_access_key_id: str | None = None
    s3_secret_access_key: SecretStr | None = None
    s3_region: str = "us-east-1"
    models_bucket: str = "triton-models"
    results_bucket: str = "prefect-results"
    triton_replicas: str
    triton_metrics: str = ""
    triton_control_key: SecretStr | None = None
    triton_tls: bool = False
    triton_tls_root_certificates: Pem | None = None
    triton_tls_client_certificate: Pem | None = None
    triton_tls_client_key: Annotated[SecretStr, BeforeValidator(_pem)] | None = None
    triton_tls_server_name: str | None = None

    def given(self, **fields: str) -> dict[str, Any]:
        """Return the values that were given, by the name each has in a block."""
        return {field: getattr(self, name) for field, name in fields.items() if name in self.model_fields_set}


def register_blocks(addresses: Addresses) -> None:
    """Create the block types and documents, or bring them up to date; running it again changes nothing.

    What the settings do not give stays as it was saved: people may have typed it in.
    """
    for block_type in (AwsCredentials, S3Bucket, ModelRegistry, ModelRepository, TritonFleet, Checkpoints):
        block_type.register_type_and_schema()
    credentials = _saved(AwsCredentials, DOCUMENT, _credentials(addresses, saved(AwsCredentials, DOCUMENT)))
    buckets = {
        document: _saved(S3Bucket, document, _bucket(addresses, document, setting) | {"credentials": credentials})
        for document, setting in ((RESULTS_DOCUMENT, "results_bucket"), (MODELS_DOCUMENT, "models_bucket"))
    }
    _saved(ModelRegistry, DOCUMENT, _registry(addresses))
    _saved(ModelRepository, DOCUMENT, {"bucket": buckets[MODELS_DOCUMENT]})
    _saved(TritonFleet, DOCUMENT, _fleet(addresses, saved(TritonFleet, DOCUMENT)))
    _saved(Checkpoints, DOCUMENT, {"bucket": buckets[RESULTS_DOCUMENT]})


def saved(block_type: type[T], document: str) -> T | None:
    """Return a document as it is now, None where there is none yet."""
    try:
        return cast(T, block_type.load(document, validate=False))
    except ValueError:
        return None


def _saved(block_type: type[T], document: str, given: dict[str, Any]) -> T:
    """Save a document with the values given, the others as they were saved, and return it."""
    before = saved(block_type, document)
    kept = {name: getattr(before, name) for name in block_type.model_fields if hasattr(before, name)}
    block = block_type(**kept | given)
    block.save(document, overwrite=True)
    return block


def _registry(addresses: Addresses) -> dict[str, Any]:
    return addresses.given(
        tracking_uri="mlflow_tracking_uri",
        username="mlflow_username",
        password="mlflow_password",  # noqa: S106  # the name of a setting
        token="mlflow_token",  # noqa: S106
    )


def _fleet(addresses: Addresses, before: TritonFleet | None) -> dict[str, Any]:
    replicas = _listed(addresses.triton_replicas)
    given = {"replicas": replicas} | addresses.given(control_key="triton_control_key")
    if "triton_metrics" in addresses.model_fields_set or not (before and before.replicas == replicas):
        given["metrics"] = _listed(addresses.triton_metrics)  # each belongs to the replica in its place
    tls = addresses.given(
        root_certificates="triton_tls_root_certificates",
        client_certificate="triton_tls_client_certificate",
        client_key="triton_tls_client_key",
        server_name="triton_tls_server_name",
    )
    if tls or addresses.triton_tls:
        kept = before.tls.model_dump() if before and before.tls else {}
        given["tls"] = TransportSecurity(**kept | tls)
    elif "triton_tls" in addresses.model_fields_set:
        given["tls"] = None
    return given


def _bucket(addresses: Addresses, document: str, setting: str) -> dict[str, Any]:
    given = addresses.given(bucket_name=setting)
    return given if given or saved(S3Bucket, document) else {"bucket_name": getattr(addresses, setting)}


def _listed(value: str) -> list[str]:
    return [part.strip() for part in value.split(",") if part.strip()]


def _credentials(addresses: Addresses, before: AwsCredentials | None) -> dict[str, Any]:
    # Without keys, boto3's own chain applies: on a cluster, the service account's role.
    given = addresses.given(
        aws_access_key_id="s3_access_key_id",
        aws_secret_access_key="s3_secret_access_key",  # noqa: S106  # the name of a setting
        region_name="s3_region",
    )
    if before is None:
        given = {"region_name": addresses.s3_region} | given
    if before is None or addresses.given(endpoint="s3_endpoint_url"):
        path_style = {"s3": {"addressing_style": "path"}} if addresses.s3_endpoint_url else {}
        bounds = {"connect_timeout": 5, "read_timeout": 60, "retries": {"max_attempts": 4, "mode": "standard"}}
        kept = before.aws_client_parameters.model_dump(exclude_unset=True) if before else {}
        config = bounds | path_style | (kept.get("config") or {})
        parameters = kept | {"endpoint_url": addresses.s3_endpoint_url, "config": config}
        given["aws_client_parameters"] = AwsClientParameters(**parameters)
    return given
