"""`slipway config show` and `config set`: how a model is served, as config.pbtxt says it, from its next release on."""

import getpass
import inspect
import json as json_format
import socket
import tomllib
from pathlib import Path
from typing import Annotated, Any

from cyclopts import App, Parameter
from prefect.client.schemas.objects import State
from rich.table import Column, Table

from blocks.environment import load_environment, require_prefect
from blocks.errors import InvalidInput, bounded
from infra.command.models import keep_log_off_the_screen
from infra.command.screen import console, show_table
from slipway.releases.configuration import Configuration, compare_configs, preview, read_configuration
from slipway.releases.kept_settings import keep_settings
from slipway.releases.receipt import format_settings
from slipway.releases.serving_config import read_policy
from slipway.releases.serving_settings import ServingSettings

_ALL = "all"

app = App(name="config", help="How a model is served: batching, instances, warm-up, acceleration and the rest.")


@app.command(name="show")
def show(model: str, *, json: Annotated[bool, Parameter(negative=())] = False) -> None:
    """Show what settings say of a model, who said it, and the config.pbtxt that is committed.

    Parameters
    ----------
    model
        Name of the model in the MLflow registry.
    json
        Print it as JSON.
    """
    require_prefect()
    found = read_configuration(model, load_environment())
    if json:
        console.print(found.model_dump_json(indent=2))
        return
    show_table(make_table(found))
    if found.changed_by_hand:
        console.print(f"\n{found.changed_by_hand}")
    if found.committed is not None:
        console.print(f"\n{found.committed.rstrip()}")


def set_settings(
    model: str,
    *,
    unset: Annotated[tuple[str, ...], Parameter(negative=())] = (),
    file: Annotated[Path | None, Parameter(name="--from")] = None,
    reason: str = "",
    dry_run: Annotated[bool, Parameter(negative=())] = False,
    release: Annotated[bool, Parameter(negative=())] = False,
    **given: str | None,
) -> None:
    """Say how a model is to be served, from its next release on; what is not said stays as it is.

    Parameters
    ----------
    model
        Name of the model in the MLflow registry.
    unset
        A field that says nothing any more, with dashes or not; all: every one.
    file
        TOML or JSON with fields to set; options go before it.
    reason
        Why; kept with the change.
    dry_run
        Show how config.pbtxt would change, change nothing.
    release
        Release the live version with them, proven as any release.
    """
    require_prefect()
    environment = load_environment()
    found = read_configuration(model, environment)
    before = ServingSettings() if _ALL in unset else found.kept.now
    values = _read_file(file) | {name: value for name, value in given.items() if value is not None}
    settings = before.change(values, tuple(_name_field(name) for name in unset if name != _ALL))
    settings.check(f"model '{model}'")
    if dry_run or found.committed is not None:
        changes = compare_configs(found.committed or "", preview(found, settings, environment))
    if dry_run:
        console.print(changes or "config.pbtxt would stay as it is")
        return
    if settings != found.kept.now:
        keep_settings(model, settings, after=found.kept, by=_name_user(), reason=reason, environment=environment)
    console.print(f"{model}: settings {format_settings(settings)}")
    if release:
        _release_live(found)
    elif settings != found.served:
        console.print("served so from its next release on: --release makes one of the live version")


def make_table(found: Configuration) -> Table:
    """Return a table with one row a setting, who set them, and where config.pbtxt came from."""
    table = Table(Column(), Column(overflow="fold"), box=None, pad_edge=False, show_header=False)
    table.add_row("model", found.model_name)
    for name, value in found.kept.now.said.items():
        table.add_row(name, json_format.dumps(value))
    if not found.kept.now.said:
        table.add_row("settings", "none: as generated, or as its author wrote it")
    for change in found.kept.changes[:5]:
        because = f", because: {change.reason}" if change.reason else ""
        told = f"{change.at:%Y-%m-%d %H:%M:%S %Z} by {change.by}{because}: {format_settings(change.settings)}"
        table.add_row("set", told)
    table.add_row("served with", format_settings(found.served))
    if found.is_pending:
        table.add_row("pending", "the next release changes it: slipway config set MODEL --release makes one")
    table.add_row("config.pbtxt", str(found.origin))
    return table


def _release_live(found: Configuration) -> None:
    """Release the live version once more, as the flow deploy-model."""
    from flows.deployment import Deployment, deploy_model

    if found.committed is None or not read_policy(found.committed):
        raise InvalidInput(
            f"model '{found.model_name}': nothing is live, expected a version to release with its settings; set the "
            "alias 'deploy' on one, whose first release takes them"
        )
    keep_log_off_the_screen()
    state: State[Any] = deploy_model(found.model_name, "alias:live", return_state=True)
    outcome: Deployment = state.result()
    if outcome.receipt is None:
        console.print(state.message)
        return
    console.print(
        f"{found.model_name}: version {outcome.plan.registry_version} is live with them as Triton version "
        f"{outcome.plan.version}, proven on {len(outcome.receipt.replicas)} replicas; `slipway rollback "
        f"{found.model_name}` goes back to how it was served before"
    )


def _read_file(path: Path | None) -> dict[str, Any]:
    """Return the settings of a file, by field; `InvalidInput` where it is neither TOML nor JSON."""
    if path is None:
        return {}
    try:
        text = path.read_text()
        read = json_format.loads(text) if path.suffix == ".json" else tomllib.loads(text)
        return dict(read)
    except (OSError, ValueError, TypeError) as error:
        raise InvalidInput(
            f"--from {path}: no settings can be read ({bounded(error, 300)}); expected TOML, or an object in a file "
            "that ends in .json, with a value for each field"
        ) from error


def _name_field(option: str) -> str:
    return option.removeprefix("--").replace("-", "_")


def _name_user() -> str:
    return f"{getpass.getuser()} on {socket.gethostname()}"


def _add_fields(signature: inspect.Signature) -> inspect.Signature:
    """Return the options of `config set`: its own, and one for each field, whose text the field itself reads."""
    own = [each for each in signature.parameters.values() if each.kind is not inspect.Parameter.VAR_KEYWORD]
    fields = [
        inspect.Parameter(
            name,
            inspect.Parameter.KEYWORD_ONLY,
            default=None,
            annotation=Annotated[str | None, Parameter(help=field.description)],
        )
        for name, field in ServingSettings.model_fields.items()
    ]
    return inspect.Signature([*own, *fields])


set_settings.__signature__ = _add_fields(inspect.signature(set_settings))  # type: ignore[attr-defined]
app.command(set_settings, name="set")
