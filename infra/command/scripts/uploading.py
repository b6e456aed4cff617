"""Step 4 as a script: a version's files go to staging, each proven there; Triton does not read them yet."""

from pathlib import Path
from typing import Annotated

from cyclopts import Parameter

from infra.command.screen import console
from infra.command.scripts.files import S3_URI_FILE, read_number, write_text
from infra.command.scripts.options import Bucket, EndpointUrl, ModelName, OutputDir
from infra.command.scripts.places import find_repository
from slipway.releases.staged_release import stage_prepared


def upload_to_s3(
    *,
    model_name: ModelName,
    triton_version: Annotated[str, Parameter(help="The version's number, or the file it is in.")],
    bucket: Bucket = None,
    s3_endpoint_url: EndpointUrl = None,
    artifacts_dir: Annotated[Path, Parameter(help="Directory that prepare-artifacts wrote.")],
    output_dir: OutputDir,
) -> None:
    """Take the version's number, put its files into staging, and write where reload-triton will put them.

    Nothing that serves is changed, whatever becomes of it.
    """
    version = read_number(triton_version)
    repository = find_repository(bucket, s3_endpoint_url, output_dir, model_name)
    staged = stage_prepared(model_name, version, artifacts_dir, repository)
    write_text(output_dir, S3_URI_FILE, staged.uri)
    console.print(f"{model_name}: version {version} is staged, {staged.sent_bytes} bytes sent; next: reload-triton")
