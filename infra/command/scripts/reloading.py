"""Step 5 as a script: the staged version is proven, committed, and loaded on every replica, each proven."""

from typing import Annotated

from cyclopts import Parameter
from cyclopts.validators import Number as Limits

from blocks.environment import Environment
from infra.command.screen import console
from infra.command.scripts.files import LOADED_FILE, write_text
from infra.command.scripts.options import Bucket, EndpointUrl, ModelName, Number, OutputDir, TrackingUri, TritonUrl
from infra.command.scripts.places import find_fleet, find_registry, find_repository
from slipway.releases.staged_release import read_staged, release_staged


def reload_triton(
    *,
    model_name: ModelName,
    triton_url: TritonUrl = None,
    expected_version: Number,
    timeout: Annotated[float, Parameter(validator=Limits(gt=0), help="Seconds a replica may take to load it.")] = 60.0,
    bucket: Bucket = None,
    s3_endpoint_url: EndpointUrl = None,
    mlflow_tracking_uri: TrackingUri = None,
    output_dir: OutputDir,
) -> None:
    """Prove a staged version on one replica, commit it, load and prove it on every one; undone where that fails.

    A version that is live is loaded and proven again; an older one that was released before is gone back to.
    """
    repository = find_repository(bucket, s3_endpoint_url, output_dir, model_name)
    staged = read_staged(model_name, expected_version, repository)
    registry = find_registry(mlflow_tracking_uri, staged.tracking_uri)
    environment = Environment(registry, repository, find_fleet(triton_url, timeout))
    loaded = release_staged(model_name, expected_version, environment)
    write_text(output_dir, LOADED_FILE, str(expected_version))
    replicas = ", ".join(f"{replica.address} ({replica.load_s:.1f} s)" for replica in loaded)
    console.print(f"{model_name}: version {expected_version} is served and proven by {replicas}; next: update-aliases")
