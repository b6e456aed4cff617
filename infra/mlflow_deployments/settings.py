"""The environment of a deployment, from the variables that NVIDIA's plugin reads; no Prefect server is asked."""

import os
from collections.abc import Mapping
from pathlib import Path

from prefect_aws.client_parameters import AwsClientParameters
from prefect_aws.credentials import AwsCredentials
from prefect_aws.s3 import S3Bucket
from pydantic import SecretStr

from blocks.environment import Environment
from blocks.fleet import TritonFleet
from blocks.http_transport import HttpConnections
from blocks.registry import ModelRegistry
from blocks.repository import ModelRepository
from blocks.transport_security import TransportSecurity
from infra.mlflow_deployments.places import DEFAULT_URL, Bucket, parse_repository, parse_urls

URL, REPOSITORY, RECORDS = "TRITON_URL", "TRITON_MODEL_REPO", "TRITON_MODEL_RECORDS"
CONTROL_KEY = "SLIPWAY_TRITON_CONTROL_KEY"
_PREFIXES = ("staging", "archive", "records", "journal", "locks")


def make_environment(variables: Mapping[str, str] = os.environ) -> Environment:
    """Return where deployments go to and come from; `InvalidInput` where a variable says nothing that can be used."""
    return Environment(_make_registry(variables), _make_repository(variables), make_fleet(variables))


def make_fleet(variables: Mapping[str, str] = os.environ) -> TritonFleet:
    """Return the replicas."""
    replicas = parse_urls(variables.get(URL) or DEFAULT_URL)
    key = variables.get(CONTROL_KEY)
    fleet = TritonFleet(
        replicas=list(replicas.addresses),
        control_key=SecretStr(key) if key else None,
        tls=TransportSecurity() if replicas.protocol == "grpc" and replicas.encrypted else None,
    )
    return fleet.through(HttpConnections(replicas.encrypted)) if replicas.protocol == "http" else fleet


def _make_registry(variables: Mapping[str, str]) -> ModelRegistry:
    import mlflow

    presigned = variables.get("MLFLOW_ENABLE_PROXY_MULTIPART_DOWNLOAD", "true").lower() not in {"false", "0"}
    return ModelRegistry(tracking_uri=mlflow.get_tracking_uri(), presigned_downloads=presigned)


def _make_repository(variables: Mapping[str, str]) -> ModelRepository:
    place = parse_repository(variables.get(REPOSITORY, ""))
    if isinstance(place, Path):
        records = variables.get(RECORDS)
        return ModelRepository(models_directory=place, records_directory=Path(records) if records else None)
    bucket = S3Bucket(bucket_name=place.name, credentials=_make_credentials(place, variables))
    prefixes = {f"{name}_prefix": f"{place.records_prefix}{name}" for name in _PREFIXES}
    return ModelRepository(bucket=bucket, repository_prefix=place.prefix, **prefixes)


def _make_credentials(place: Bucket, variables: Mapping[str, str]) -> AwsCredentials:
    """Return boto3's own credentials, from AWS_*, with the endpoint that the repository names."""
    endpoint_url = place.endpoint_url or variables.get("AWS_ENDPOINT_URL_S3") or variables.get("AWS_ENDPOINT_URL")
    config = {"s3": {"addressing_style": "path"}} if endpoint_url else {}
    region = variables.get("AWS_REGION") or variables.get("AWS_DEFAULT_REGION") or "us-east-1"
    parameters = AwsClientParameters(endpoint_url=endpoint_url, config=config)
    return AwsCredentials(region_name=region, aws_client_parameters=parameters)
