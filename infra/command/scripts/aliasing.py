"""Step 6 as a script: `live` moves to the version that is served, `previous` to the one before it."""

from typing import Annotated

from cyclopts import Parameter

from blocks.labels import CHAMPION, DEPLOY, LIVE, PREVIOUS
from infra.command.screen import console
from infra.command.scripts.files import ALIASES_FILE, write_json
from infra.command.scripts.options import Bucket, EndpointUrl, MlflowVersion, ModelName, OutputDir, TrackingUri
from infra.command.scripts.places import find_registry, find_repository
from slipway.releases.live_alias import point_at_served
from slipway.releases.receipt import format_aliases

_REPORTED = (LIVE, PREVIOUS, DEPLOY, CHAMPION)


def update_aliases(
    *,
    model_name: ModelName,
    mlflow_version: MlflowVersion,
    mlflow_tracking_uri: TrackingUri = None,
    dry_run: Annotated[bool, Parameter(help="Work the change out, and change nothing.")] = False,
    bucket: Bucket = None,
    s3_endpoint_url: EndpointUrl = None,
    output_dir: OutputDir,
) -> None:
    """Point `live` at the registered version that is served; running it again changes nothing.

    A version that is not what is served is refused.
    """
    repository = find_repository(bucket, s3_endpoint_url, output_dir, model_name)
    registry = find_registry(mlflow_tracking_uri)
    change = point_at_served(model_name, mlflow_version, registry, repository, dry_run=dry_run)
    content = {
        "model_name": model_name,
        "deployed_version": str(mlflow_version),
        "dry_run": dry_run,
        "state_before": _report(change.before),
        "state_after": _report(change.before if dry_run else change.after),
        "changes": {
            alias: str(version) for alias, version in change.after.items() if change.before.get(alias) != version
        },
    }
    write_json(output_dir, ALIASES_FILE, content)
    verb = "would be" if dry_run else "are"
    console.print(f"{model_name}: aliases {verb} {format_aliases(change.after)}, were {format_aliases(change.before)}")


def _report(aliases: dict[str, int]) -> dict[str, str | None]:
    return {alias: str(aliases[alias]) if alias in aliases else None for alias in _REPORTED}
