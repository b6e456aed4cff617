"""Step 3 as a script: metadata.json, the audit trail of a version, beside the model's files."""

from pathlib import Path
from typing import Annotated

from cyclopts import Parameter

from blocks.checksums import FileDigest
from blocks.errors import IntegrityError, InvalidInput, SlipwayError
from blocks.labels import METADATA_FILE
from blocks.run import get_owner
from infra.command.screen import console
from infra.command.scripts.files import FetchedDocument, copy_file, read_fetched, read_number, write_text
from infra.command.scripts.options import OutputDir
from slipway.releases.artifacts import write_metadata
from slipway.releases.staged_release import read_prepared


def prepare_artifacts(
    *,
    mlflow_metadata: Annotated[Path, Parameter(help="mlflow_metadata.json, which fetch-model wrote.")],
    triton_version: Annotated[str, Parameter(help="triton_version.txt, which determine-version wrote, or a number.")],
    model_file: Annotated[Path, Parameter(help="model.onnx, which fetch-model wrote; its other files lie beside it.")],
    output_dir: OutputDir,
) -> None:
    """Check the files that were fetched, copy them, and write metadata.json last."""
    document, version = read_fetched(mlflow_metadata), read_number(triton_version)
    _copy_files(document, model_file, output_dir)
    owner = _find_owner(document, version, output_dir) or get_owner()
    metadata = write_metadata(document.fetched, version, owner, tracking_uri=document.tracking_uri)
    write_text(output_dir, METADATA_FILE, metadata)
    console.print(f"{document.model_name}: version {version} is prepared in {output_dir}")


def _copy_files(document: FetchedDocument, model_file: Path, output_dir: Path) -> None:
    fetched = document.fetched
    subject, model = fetched.subject, fetched.contents.model_file
    sources = {file.name: model_file if file.name == model else model_file.parent / file.name for file in fetched.files}
    for file in fetched.files:
        if not (source := sources[file.name]).is_file():
            raise InvalidInput(f"{subject}: there is no {source}; run fetch-model, or name its file by --model-file")
        if (found := FileDigest.of(source, file.name).sha256) != file.sha256:
            raise IntegrityError(
                f"{subject}: {source} has SHA-256 {found}, fetched was {file.sha256}; a model that was changed is "
                "registered first: then run fetch-model"
            )
        copy_file(source, output_dir / file.name)


def _find_owner(document: FetchedDocument, version: int, output_dir: Path) -> str | None:
    """Return the session that prepared just this before: whoever repeats a step is not another release."""
    try:
        before = read_prepared(output_dir, document.model_name, version)
    except SlipwayError:
        return None
    digests = {file.name: file.sha256 for file in document.fetched.files}
    same = before.registry_version == document.fetched.registered.version and before.digests == digests
    return before.owner if same else None
