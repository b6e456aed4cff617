"""Step 1 as a script: the registered version's files, streamed to disk, checked, and what MLflow knows of it."""

from infra.command.screen import console
from infra.command.scripts.files import FETCHED_FILE, FetchedDocument, copy_file, write_json
from infra.command.scripts.options import ModelName, OutputDir, Source, TrackingUri
from infra.command.scripts.places import find_registry
from slipway.releases.fetched import ensure_files
from slipway.releases.fetching import fetch
from slipway.releases.workspace import private_workspace


def fetch_model(
    *,
    model_name: ModelName,
    source: Source = "alias:deploy",
    mlflow_tracking_uri: TrackingUri = None,
    output_dir: OutputDir,
) -> None:
    """Download a registered model, check it, and write its files and mlflow_metadata.json."""
    registry = find_registry(mlflow_tracking_uri)
    with private_workspace():
        fetched = fetch(registry.resolve(model_name, source), source, registry)
        directory = ensure_files(fetched, registry)
        for file in fetched.files:
            copy_file(directory / file.name, output_dir / file.name)
    document = FetchedDocument.of(fetched, registry.tracking_uri).model_dump(mode="json")
    write_json(output_dir, FETCHED_FILE, document | {"fetched": document.pop("fetched")})
    names = ", ".join(file.name for file in fetched.files)
    console.print(f"{model_name}: version {fetched.registered.version} ({source}) is in {output_dir}: {names}")
