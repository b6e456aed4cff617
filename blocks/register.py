"""Register the blocks every flow loads, from the environment: `python -m blocks.register`, as often as you like.

The documents are the same everywhere, a laptop's and a cluster's differ only in their values.
"""

from prefect.blocks.core import Block
from prefect_aws.client_parameters import AwsClientParameters
from prefect_aws.credentials import AwsCredentials
from prefect_aws.s3 import S3Bucket
from pydantic import SecretStr
from pydantic_settings import BaseSettings, SettingsConfigDict

from blocks.fleet import TritonFleet
from blocks.registry import ModelRegistry
from blocks.repository import ModelRepository

RESULTS_DOCUMENT = "slipway-results"


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
    triton_model_control_key: SecretStr | None = None


def register_blocks(addresses: Addresses) -> None:
    """Create or overwrite the block types and documents; running it again changes nothing."""
    for block_type in (AwsCredentials, S3Bucket, ModelRegistry, ModelRepository, TritonFleet):
        block_type.register_type_and_schema()
    credentials = _credentials(addresses)
    _save(credentials, "slipway")
    results = S3Bucket(bucket_name=addresses.results_bucket, credentials=credentials)
    models = S3Bucket(bucket_name=addresses.models_bucket, credentials=credentials)
    _save(results, RESULTS_DOCUMENT)
    _save(models, "slipway-models")
    _save(ModelRegistry(tracking_uri=addresses.mlflow_tracking_uri), ModelRegistry.DOCUMENT)
    _save(ModelRepository(bucket=models), ModelRepository.DOCUMENT)
    replicas = [replica.strip() for replica in addresses.triton_replicas.split(",") if replica.strip()]
    fleet = TritonFleet(replicas=replicas, model_control_key=addresses.triton_model_control_key)
    _save(fleet, TritonFleet.DOCUMENT)


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


def _save(block: Block, name: str) -> None:
    block.save(name, overwrite=True)


if __name__ == "__main__":
    register_blocks(Addresses())
