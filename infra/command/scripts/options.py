"""The options that several scripts have, each checked as it is read: what is wrong with one is said in a line."""

from collections.abc import Callable
from pathlib import Path
from typing import Annotated, Any

from cyclopts import Parameter

from blocks.errors import InvalidInput
from blocks.names import check_model_name, check_source
from infra.command.scripts.places import parse_bucket
from infra.mlflow_deployments.places import parse_urls
from slipway.formats.signature import Shape
from slipway.releases.plan import MAX_VERSION


def _checked(check: Callable[[Any], object]) -> Callable[[type, Any], None]:
    """Return a check as cyclopts has them."""

    def validate(_: type, value: Any) -> None:
        if value is None:
            return
        try:
            check(value)
        except InvalidInput as error:
            raise ValueError(str(error)) from error

    return validate


def _check_number(number: int) -> None:
    if not 1 <= number <= MAX_VERSION:
        raise ValueError(f"expected a number from 1 to {MAX_VERSION}")


def _check_shape(shape: Shape) -> None:
    if not shape or min(shape) < 1:
        raise ValueError('expected sizes from 1 on, batch axis included, say "[1, 3, 224, 224]"')


def _option(check: Callable[[Any], object], text: str) -> Parameter:
    return Parameter(validator=_checked(check), help=text)


ModelName = Annotated[str, _option(check_model_name, "Name of the model in the MLflow registry, and in Triton.")]
Source = Annotated[str, _option(check_source, "Which registered version: alias:NAME or version:N.")]
OutputDir = Annotated[Path, Parameter(help="Directory for what this step writes; it is made where it is missing.")]
Number = Annotated[int, _option(_check_number, "Number of the version in Triton's model repository.")]
MlflowVersion = Annotated[int, _option(_check_number, "Number of the version in the MLflow registry.")]
Bucket = Annotated[
    str | None,
    Parameter(
        name=("--bucket", "--s3-bucket"),
        validator=_checked(parse_bucket),
        help="What Triton reads: BUCKET, BUCKET/PREFIX, s3://http://host:port/BUCKET/PREFIX or a directory; left out: "
        "what s3_uri.txt in the output directory names, TRITON_MODEL_REPO or SLIPWAY_MODELS_BUCKET.",
    ),
]
EndpointUrl = Annotated[str | None, Parameter(help="S3 server; Amazon's where left out.")]
TrackingUri = Annotated[str | None, Parameter(help="The MLflow server; MLFLOW_TRACKING_URI where left out.")]
TritonUrl = Annotated[
    str | None,
    _option(
        parse_urls,
        "Every replica, with commas between: http://host:8000 or grpc://host:8001, or dns:///name:8001 for all behind "
        "a name; left out: TRITON_URL or SLIPWAY_TRITON_REPLICAS.",
    ),
]
ExpectedShape = Annotated[Shape | None, _option(_check_shape, 'Shape to expect, batch axis included: "[1, 10]".')]
