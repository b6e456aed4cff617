"""`slipway settings`: every variable SLIPWAY_…, made from the code that reads it; docs/settings.md is its output."""

from collections.abc import Iterable
from pathlib import Path
from types import NoneType
from typing import Any, Literal, get_args, get_origin

from pydantic import SecretStr
from pydantic.fields import FieldInfo

from infra.command.screen import console
from infra.events.settings import EventSettings
from infra.images.names import ImageSettings
from infra.loadtest.annotations import GrafanaSettings
from infra.local.settings import ROOT, LocalStack
from infra.settings import VARIABLES, Settings, Variable, name_variable
from infra.setup.blocks import Addresses
from infra.setup.settings import AlertSettings, ClusterSettings

KINDS = (LocalStack, Addresses, ClusterSettings, AlertSettings, EventSettings, ImageSettings, GrafanaSettings)
INTRODUCTION = """# Settings

Every environment variable that slipway reads, made from the code by `uv run slipway settings > docs/settings.md`. One
that is wrong, or missing where it is required, is named in a line, and the command ends with status 2.
"""
_TYPES = {str: "text", int: "integer", float: "number", bool: "true or false", SecretStr: "secret", Path: "path"}


def show_settings() -> None:
    """Show every variable SLIPWAY_… as Markdown: its type, its default, what it means and who reads it."""
    console.print(write_document(), end="")


def write_document() -> str:
    """Return the text of docs/settings.md."""
    sections = [_write_section(kind.read_by, kind.__doc__, _list_fields(kind)) for kind in KINDS]
    plain = _write_section("Flows, steps, images and tests", "What is read where it is needed.", VARIABLES)
    return "\n".join([INTRODUCTION, *sections, plain])


def _write_section(title: str, text: str | None, variables: Iterable[Variable]) -> str:
    head = "| Variable | Type | Default | What it means |\n|---|---|---|---|\n"
    rows = (f"| `{found.name}` | {found.type} | {found.default} | {found.meaning} |\n" for found in variables)
    return f"## {title}\n\n{text}\n\n{head}{''.join(rows)}"


def _list_fields(kind: type[Settings]) -> list[Variable]:
    return [
        Variable(name_variable(name), name_type(field.annotation), _write_default(field), field.description or "")
        for name, field in kind.model_fields.items()
    ]


def name_type(annotation: Any) -> str:
    """Return the word for a type that people who set a variable know."""
    arguments = [part for part in get_args(annotation) if part is not NoneType]
    if annotation in _TYPES:
        return _TYPES[annotation]
    if get_origin(annotation) is Literal:
        return " or ".join(f"`{choice}`" for choice in arguments)
    if get_origin(annotation) is dict:
        return "JSON"
    return name_type(arguments[0])


def _write_default(field: FieldInfo) -> str:
    if field.is_required():
        return "required"
    default = field.default
    if isinstance(default, Path):
        default = default.relative_to(ROOT)
    return "-" if default in (None, "", {}) else f"`{str(default).lower() if isinstance(default, bool) else default}`"
