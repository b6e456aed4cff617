"""The one place that says which block documents there are: flows load them, `python -m infra.setup` saves them.

The documents are the same everywhere, a laptop's and a cluster's differ only in their values.
"""

from typing import NamedTuple, TypeVar, cast

from prefect.blocks.core import Block
from prefect_aws.client_parameters import AwsClientParameters
from prefect_aws.credentials import AwsCredentials
from prefect_aws.s3 import S3Bucket
from pydantic import SecretStr
from pydantic_settings import BaseSettings, SettingsConfigDict

from blocks.checkpoints import Checkpoints
from blocks.fleet import TritonFleet
from blocks.registry import ModelRegistry
from blocks.repository import ModelRepository

T = TypeVar("T", bound=Block)

DOCUMENT = "slipway"
RESULTS_DOCUMENT = "slipway-results"
RESULT_STORAGE = f"s3-bucket/{RESULTS_DOCUMENT}"


class Blocks(NamedTuple):
    """The outside systems a flow speaks to."""

    registry: ModelRegistry
    repository: ModelRepository
    fleet: TritonFleet


class Addresses(BaseSettings):
    """Where the outside systems are, from environment variables that start with SLIPWAY_."""

    model_config = SettingsConfigDict(env_prefix="SLIPWAY_", frozen=True, extra="ignore")

    mlflow_tracking_uri: str
    s3_endpoint_url: str | None = None
    s3_access_key_id: str | None = None
    s3_secret_access_key: SecretStr | None = None
    s3_region: str = "us-east-1"
    models_bucket: str = "triton-models"
    results_bucket: str = "prefect-results"
    triton_replicas: str
    triton_metrics: str = ""
    triton_control_key: SecretStr | None = None


def load_blocks() -> Blocks:
    """Return the registered blocks."""
    return Blocks(load_block(ModelRegistry), load_block(ModelRepository), load_block(TritonFleet))


def load_block(block_type: type[T]) -> T:
    """Return the registered document of one block type."""
    return cast(T, block_type.load(DOCUMENT))


def register_blocks(addresses: Addresses) -> None:
    """Create or overwrite the block types and documents; running it again changes nothing."""
    for block_type in (AwsCredentials, S3Bucket, ModelRegistry, ModelRepository, TritonFleet, Checkpoints):
        block_type.register_type_and_schema()
    credentials = _credentials(addresses)
    results = S3Bucket(bucket_name=addresses.results_bucket, credentials=credentials)
    models = S3Bucket(bucket_name=addresses.models_bucket, credentials=credentials)
    replicas, metrics = _listed(addresses.triton_replicas), _listed(addresses.triton_metrics)
    for document, block in {
        DOCUMENT: credentials,
        RESULTS_DOCUMENT: results,
        "slipway-models": models,
    }.items():
        block.save(document, overwrite=True)
    for block in (
        ModelRegistry(tracking_uri=addresses.mlflow_tracking_uri),
        ModelRepository(bucket=models),
        TritonFleet(replicas=replicas, metrics=metrics, control_key=addresses.triton_control_key),
        Checkpoints(bucket=results),
    ):
        block.save(DOCUMENT, overwrite=True)


def _listed(value: str) -> list[str]:
    return [part.strip() for part in value.split(",") if part.strip()]


def _credentials(addresses: Addresses) -> AwsCredentials:
    # Without keys, boto3's own chain applies: on a cluster, the service account's role.
    path_style = {"s3": {"addressing_style": "path"}} if addresses.s3_endpoint_url else {}
    bounds = {"connect_timeout": 5, "read_timeout": 60, "retries": {"max_attempts": 4, "mode": "standard"}}
    return AwsCredentials(
        aws_access_key_id=addresses.s3_access_key_id,
        aws_secret_access_key=addresses.s3_secret_access_key,
        region_name=addresses.s3_region,
        aws_client_parameters=AwsClientParameters(
            endpoint_url=addresses.s3_endpoint_url, config={**bounds, **path_style}
        ),
    )
