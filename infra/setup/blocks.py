"""The block documents: created, or brought up to date from the settings that are given."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from copy import deepcopy
from functools import cache
from pathlib import Path
from typing import Annotated, Any, ClassVar, TypeVar, cast
from unittest.mock import patch

from prefect.blocks.core import Block
from prefect_aws.client_parameters import AwsClientParameters
from prefect_aws.credentials import AwsCredentials
from prefect_aws.s3 import S3Bucket
from pydantic import BeforeValidator, Field, SecretStr
from pydantic_settings import SettingsConfigDict

from blocks.checkpoints import Checkpoints
from blocks.environment import DOCUMENT, MODELS_DOCUMENT, RESULTS_DOCUMENT
from blocks.fleet import TritonFleet
from blocks.registry import ModelRegistry
from blocks.repository import ModelRepository
from blocks.transport_security import TransportSecurity
from infra.settings import Settings

T = TypeVar("T", bound=Block)


def _read_pem(value: object) -> object:
    """Return a PEM text as it is given, or as the file has it whose path is given."""
    if not isinstance(value, str) or "-----BEGIN " in value:
        return value
    try:
        return Path(value).read_text()
    except (OSError, ValueError) as error:
        raise ValueError(f"neither a PEM text nor a file of one ({error})") from error


Pem = Annotated[str, BeforeValidator(_read_pem)]


class Addresses(Settings):
    """Where the outside systems are, to be saved as Prefect's blocks; an empty variable is one that is not given."""

    model_config = SettingsConfigDict(env_ignore_empty=True)
    read_by: ClassVar[str] = "The blocks: `slipway setup`"

    mlflow_tracking_uri: str = Field(description="The MLflow server whose registry is released from.")
    mlflow_username: str | None = Field(None, description="User, where that server asks for basic authentication.")
    mlflow_password: SecretStr | None = Field(None, description="Password of that user.")
    mlflow_token: SecretStr | None = Field(None, description="Bearer token, where it asks for one instead.")
    mlflow_artifacts_destination: str | None = Field(
        None,
        description="That server's --artifacts-destination, say `s3://mlflow`, where the keys below may read it: large "
        "files are copied from there into the model repository.",
    )
    s3_endpoint_url: str | None = Field(None, description="S3 server; Amazon's where left out.")
    s3_access_key_id: str | None = Field(None, description="Key; without one boto3 looks for credentials by itself.")
    s3_secret_access_key: SecretStr | None = Field(None, description="Secret of that key.")
    s3_region: str = Field("us-east-1", description="Region of the buckets.")
    models_bucket: str = Field("triton-models", description="Bucket of the model repository.")
    results_bucket: str = Field("prefect-results", description="Bucket of the flows' results and checkpoints.")
    triton_replicas: str = Field(
        description="gRPC addresses `host:port,host:port` of the replicas, or `dns:///name:port` for all behind a name."
    )
    triton_metrics: str = Field("", description="Addresses of their metrics in the same order, for limits on memory.")
    triton_loads_at_once: int = Field(32, ge=1, le=256, description="Replicas that load a version at once, at most.")
    triton_control_key: SecretStr | None = Field(None, description="What Triton asks for before it loads anything.")
    triton_tls: bool = Field(False, description="Whether the replicas are spoken to over TLS.")
    triton_tls_root_certificates: Pem | None = Field(None, description="Who vouches for them, as PEM or a file of it.")
    triton_tls_client_certificate: Pem | None = Field(None, description="Who we are, as PEM or a file of it.")
    triton_tls_client_key: Annotated[SecretStr, BeforeValidator(_read_pem)] | None = Field(
        None, description="Key of that certificate, as PEM or a file of it."
    )
    triton_tls_server_name: str | None = Field(None, description="Name in their certificates, where it is another.")

    def select_given(self, **fields: str) -> dict[str, Any]:
        """Return the values that were given, by the name each has in a block."""
        return {field: getattr(self, name) for field, name in fields.items() if name in self.model_fields_set}


def register_blocks(addresses: Addresses) -> None:
    """Create the block types and documents, or bring them up to date; running it again changes nothing.

    What the settings do not give stays as it was saved: people may have typed it in.
    """
    with make_schemas_once():
        _save_all(addresses)


def _save_all(addresses: Addresses) -> None:
    credentials = _save(AwsCredentials, DOCUMENT, _select_credentials(addresses, load_saved(AwsCredentials, DOCUMENT)))
    buckets = {
        document: _save(S3Bucket, document, _select_bucket(addresses, document, setting) | {"credentials": credentials})
        for document, setting in ((RESULTS_DOCUMENT, "results_bucket"), (MODELS_DOCUMENT, "models_bucket"))
    }
    _save(ModelRegistry, DOCUMENT, _select_registry(addresses))
    _save(ModelRepository, DOCUMENT, {"bucket": buckets[MODELS_DOCUMENT]})
    _save(TritonFleet, DOCUMENT, _select_fleet(addresses, load_saved(TritonFleet, DOCUMENT)))
    _save(Checkpoints, DOCUMENT, {"bucket": buckets[RESULTS_DOCUMENT]})


@contextmanager
def make_schemas_once() -> Iterator[None]:
    """Have Prefect make the JSON schema of a block type once while the block runs.

    To save a document, Prefect 3.8 makes its type's schema anew for each of its fields, and for each of theirs: 600
    times for ours, nine tenths of what `slipway setup` computes.
    """
    make: Callable[..., dict[str, Any]] = Block.model_json_schema.__func__  # type: ignore[attr-defined]
    make_once = cache(make)

    def make_schema(block_type: type[Block], *arguments: Any, **named: Any) -> dict[str, Any]:
        return deepcopy(make_once(block_type, *arguments, **named))

    with patch.object(Block, "model_json_schema", classmethod(make_schema)):
        yield


def load_saved(block_type: type[T], document: str) -> T | None:
    """Return a document as it is now, None where there is none yet."""
    try:
        return cast(T, block_type.load(document, validate=False))
    except ValueError:
        return None


def _save(block_type: type[T], document: str, given: dict[str, Any]) -> T:
    """Save a document with the values given, the others as they were saved, and return it."""
    before = load_saved(block_type, document)
    kept = {name: getattr(before, name) for name in block_type.model_fields if hasattr(before, name)}
    block = block_type(**kept | given)
    block.save(document, overwrite=True)
    return block


def _select_registry(addresses: Addresses) -> dict[str, Any]:
    return addresses.select_given(
        tracking_uri="mlflow_tracking_uri",
        artifacts_destination="mlflow_artifacts_destination",
        username="mlflow_username",
        password="mlflow_password",  # noqa: S106  # the name of a setting
        token="mlflow_token",  # noqa: S106
    )


def _select_fleet(addresses: Addresses, before: TritonFleet | None) -> dict[str, Any]:
    replicas = _split(addresses.triton_replicas)
    given = {"replicas": replicas} | addresses.select_given(
        control_key="triton_control_key", loads_at_once="triton_loads_at_once"
    )
    if "triton_metrics" in addresses.model_fields_set or not (before and before.replicas == replicas):
        given["metrics"] = _split(addresses.triton_metrics)  # each belongs to the replica in its place
    tls = addresses.select_given(
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


def _select_bucket(addresses: Addresses, document: str, setting: str) -> dict[str, Any]:
    given = addresses.select_given(bucket_name=setting)
    return given if given or load_saved(S3Bucket, document) else {"bucket_name": getattr(addresses, setting)}


def _split(value: str) -> list[str]:
    return [part.strip() for part in value.split(",") if part.strip()]


def _select_credentials(addresses: Addresses, before: AwsCredentials | None) -> dict[str, Any]:
    # Without keys, boto3's own chain applies: on a cluster, the service account's role.
    given = addresses.select_given(
        aws_access_key_id="s3_access_key_id",
        aws_secret_access_key="s3_secret_access_key",  # noqa: S106  # the name of a setting
        region_name="s3_region",
    )
    if before is None:
        given = {"region_name": addresses.s3_region} | given
    if before is None or addresses.select_given(endpoint="s3_endpoint_url"):
        path_style = {"s3": {"addressing_style": "path"}} if addresses.s3_endpoint_url else {}
        bounds = {"connect_timeout": 5, "read_timeout": 60, "retries": {"max_attempts": 4, "mode": "standard"}}
        kept = before.aws_client_parameters.model_dump(exclude_unset=True) if before else {}
        config = bounds | path_style | (kept.get("config") or {})
        parameters = kept | {"endpoint_url": addresses.s3_endpoint_url, "config": config}
        given["aws_client_parameters"] = AwsClientParameters(**parameters)
    return given
