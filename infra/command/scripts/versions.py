"""Step 2 as a script: the number that a version gets in Triton's model repository."""

from infra.command.screen import console
from infra.command.scripts.files import VERSION_FILE, write_text
from infra.command.scripts.options import Bucket, EndpointUrl, ModelName, Number, OutputDir
from infra.command.scripts.places import find_repository


def determine_version(
    *,
    model_name: ModelName,
    bucket: Bucket = None,
    s3_endpoint_url: EndpointUrl = None,
    force_version: Number | None = None,
    output_dir: OutputDir,
) -> None:
    """Write the next version number: one more than any that was ever taken, so that none is used twice.

    Nothing is taken yet: of two who get the same number, upload-to-s3 refuses the second.
    """
    repository = find_repository(bucket, s3_endpoint_url, output_dir, model_name)
    version = force_version or repository.find_next_version(model_name)
    write_text(output_dir, VERSION_FILE, str(version))
    console.print(f"{model_name}: the next version in {repository.store.address} is {version}")
