"""Where a script finds the registry, the model repository and the replicas: options first, then what was left in the
output directory, then variables."""

import os
import re
import sys
from collections.abc import Mapping
from pathlib import Path

from blocks.errors import InvalidInput
from blocks.fleet import TritonFleet
from blocks.registry import ModelRegistry
from blocks.repository import ModelRepository
from infra.command.scripts.files import S3_URI_FILE
from infra.mlflow_deployments.places import HOUSE_PREFIX, Bucket, parse_repository
from infra.mlflow_deployments.settings import CONTROL_KEY, REPOSITORY, URL, make_fleet, make_repository

TRACKING = "MLFLOW_TRACKING_URI"
_HOUSE_BUCKET, _HOUSE_REPLICAS = "SLIPWAY_MODELS_BUCKET", "SLIPWAY_TRITON_REPLICAS"
_HOUSE_FOLDERS = {HOUSE_PREFIX, "records", "locks"}
_KEYS = {
    "AWS_ACCESS_KEY_ID": "SLIPWAY_S3_ACCESS_KEY_ID",
    "AWS_SECRET_ACCESS_KEY": "SLIPWAY_S3_SECRET_ACCESS_KEY",
    "AWS_REGION": "SLIPWAY_S3_REGION",
}
_LOGINS = {
    "username": "SLIPWAY_MLFLOW_USERNAME",
    "password": "SLIPWAY_MLFLOW_PASSWORD",
    "token": "SLIPWAY_MLFLOW_TOKEN",
}


def parse_bucket(text: str) -> Bucket | Path:
    """Return what `--bucket` names; `InvalidInput` where it names nothing that can be one."""
    return parse_repository(_name_repository(text))


def find_registry(
    tracking_uri: str | None, remembered: str | None = None, variables: Mapping[str, str] = os.environ
) -> ModelRegistry:
    """Return the registry; `InvalidInput` where nothing says where it is.

    Args:
        tracking_uri: the option.
        remembered: what metadata.json says, the last resort.
        variables: the environment.
    """
    uri = tracking_uri or variables.get(TRACKING) or remembered
    if not uri:
        raise InvalidInput(f"MLflow: nothing says where it is; give --mlflow-tracking-uri, or set {TRACKING}")
    if not sys.stderr.isatty():  # a log has no use for MLflow's bars
        os.environ.setdefault("MLFLOW_ENABLE_ARTIFACTS_PROGRESS_BAR", "false")
    logins = {field: variables[name] for field, name in _LOGINS.items() if variables.get(name)}
    presigned = variables.get("MLFLOW_ENABLE_PROXY_MULTIPART_DOWNLOAD", "true").lower() not in {"false", "0"}
    return ModelRegistry(tracking_uri=uri, presigned_downloads=presigned, **logins)


def find_repository(
    bucket: str | None,
    endpoint_url: str | None,
    directory: Path,
    model_name: str,
    variables: Mapping[str, str] = os.environ,
) -> ModelRepository:
    """Return the model repository; `InvalidInput` where nothing says where it is, or it is not laid out so.

    Args:
        bucket: the option.
        endpoint_url: the option; the endpoint that `bucket` itself names goes before it.
        directory: the output directory, where upload-to-s3 may have left s3_uri.txt.
        model_name: the model it is looked up for.
        variables: the environment.
    """
    place = choose_repository(bucket, directory, model_name, variables)
    if place is None:
        raise InvalidInput(
            f"model repository: nothing says where it is; give --bucket, set {REPOSITORY}, or name the output "
            f"directory in which upload-to-s3 left {S3_URI_FILE}"
        )
    endpoint = endpoint_url or variables.get("SLIPWAY_S3_ENDPOINT_URL")
    given = {REPOSITORY: place} | ({"AWS_ENDPOINT_URL_S3": endpoint} if endpoint else {})
    # what boto3 reads by itself; ours goes before AWS_*, which may be another store's
    os.environ.update({name: variables[ours] for name, ours in _KEYS.items() if variables.get(ours)})
    repository = make_repository({**variables, **given})
    _refuse_house(repository)
    return repository


def choose_repository(
    bucket: str | None, directory: Path, model_name: str, variables: Mapping[str, str] = os.environ
) -> str | None:
    """Return what names the model repository, as `TRITON_MODEL_REPO` would have it; None where nothing does."""
    if bucket:
        return _name_repository(bucket)
    if (left := _read_left(directory, model_name)) is not None:
        return left
    if variables.get(REPOSITORY):
        return variables[REPOSITORY]
    house = variables.get(_HOUSE_BUCKET)
    return f"s3://{house}/{HOUSE_PREFIX}" if house else None


def find_fleet(
    triton_url: str | None, timeout_s: float | None = None, variables: Mapping[str, str] = os.environ
) -> TritonFleet:
    """Return the replicas; `InvalidInput` where nothing says where they are."""
    url = triton_url or variables.get(URL) or _name_replicas(variables.get(_HOUSE_REPLICAS, ""))
    if not url:
        raise InvalidInput(f"Triton: nothing says where it is; give --triton-url, or set {URL}: every replica by comma")
    fleet = make_fleet({URL: url, CONTROL_KEY: variables.get(CONTROL_KEY, "")})
    return fleet if timeout_s is None else fleet.model_copy(update={"load_timeout_s": timeout_s})


def _name_repository(bucket: str) -> str:
    return bucket if bucket.startswith(("s3://", "file://", "/", "./", "../")) else f"s3://{bucket}"


def _name_replicas(replicas: str) -> str:
    """Return the addresses of gRPC ports as `TRITON_URL` has them."""
    names = [part.strip() for part in replicas.split(",") if part.strip()]
    return ",".join(name if "://" in name or name.startswith("dns:") else f"grpc://{name}" for name in names)


def _read_left(directory: Path, model_name: str) -> str | None:
    """Return the repository that upload-to-s3 put this model into, by what it left in the output directory."""
    try:
        text = (directory / S3_URI_FILE).read_text().strip()
    except OSError:
        return None
    found = re.fullmatch(rf"(?P<repository>.+)/{re.escape(model_name)}/[0-9]+/?", text)
    return found["repository"] if found else None


def _refuse_house(repository: ModelRepository) -> None:
    """Raise where a whole bucket is named, and slipway laid it out so that Triton reads a folder of it."""
    if repository.repository_prefix or repository.bucket is None:
        return
    if set(repository.store.list_prefixes("")) >= _HOUSE_FOLDERS:
        name = repository.bucket.bucket_name
        raise InvalidInput(
            f"{repository.store.address}: is laid out by slipway, and Triton reads its folder {HOUSE_PREFIX}; give "
            f"--bucket={name}/{HOUSE_PREFIX}"
        )
