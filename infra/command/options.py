"""From the parameters of a step to options at a prompt, and from what was given back to arguments.

A value that another step returned is given as the JSON file that step printed. A parameter marked `FLAT` has one option
for each of its fields. Systems, blocks and the environment of all, are no options: they are loaded.
"""

import inspect
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from types import NoneType, UnionType
from typing import Annotated, Any, Union, get_args, get_origin, get_type_hints

from cyclopts import Parameter
from prefect.blocks.core import Block
from pydantic import BaseModel, TypeAdapter, ValidationError

from blocks.environment import Environment
from blocks.errors import InvalidInput, bounded
from tasks.policies import FLAT

REQUIRED = inspect.Parameter.empty
_REASON_CHARS = 300


@dataclass(frozen=True)
class Option:
    """One option of a step: a parameter of it, or a field of one that is flat."""

    name: str
    hint: Any
    default: Any = REQUIRED
    description: str | None = None
    is_file: bool = False

    def make_parameter(self) -> inspect.Parameter:
        """Return it as the parameter of a function that cyclopts makes a command of."""
        annotation = (Path | None if self.default is None else Path) if self.is_file else self.hint
        annotation = Annotated[annotation, Parameter(help=self.description)] if self.description else annotation
        return inspect.Parameter(self.name, inspect.Parameter.KEYWORD_ONLY, default=self.default, annotation=annotation)

    def read(self, given: Any) -> Any:
        """Return the value that was given, from its file where it is one; `InvalidInput` where that is no JSON."""
        if not self.is_file or not isinstance(given, Path):
            return given
        try:
            return TypeAdapter(Any).validate_json(given.read_bytes())
        except (OSError, ValidationError) as error:
            raise InvalidInput(
                f"--{self.name.replace('_', '-')} {given}: no JSON file ({bounded(error, _REASON_CHARS)}); "
                "expected what the step that returns it printed"
            ) from error


@dataclass(frozen=True)
class FlatParameter:
    """A parameter whose fields are options."""

    kind: type[BaseModel]
    default: BaseModel | None
    options: tuple[Option, ...]

    def compose(self, values: Mapping[str, Any]) -> BaseModel:
        """Return the parameter's value from those of its fields, checked."""
        own = {option.name: values[option.name] for option in self.options if option.name in values}
        return self.kind.model_validate((dict(self.default) if self.default else {}) | own)


@dataclass(frozen=True)
class Parameters:
    """All parameters of a step, sorted by what becomes of them at a prompt."""

    plain: tuple[Option, ...]
    flat: Mapping[str, FlatParameter]
    systems: Mapping[str, type[Environment] | type[Block]]
    defaults: Mapping[str, Any] = field(default_factory=dict)

    @property
    def options(self) -> Iterator[Option]:
        """Every option."""
        yield from self.plain
        for parameter in self.flat.values():
            yield from parameter.options

    def read_values(self, given: Mapping[str, Any]) -> dict[str, Any]:
        """Return the values by option: those given, else the flow's defaults."""
        return {
            option.name: option.read(given[option.name]) if option.name in given else self.defaults[option.name]
            for option in self.options
            if option.name in given or option.name in self.defaults
        }

    def compose_arguments(self, values: Mapping[str, Any]) -> dict[str, Any]:
        """Return the step's arguments but its systems."""
        plain = {option.name: values[option.name] for option in self.plain if option.name in values}
        return plain | {name: parameter.compose(values) for name, parameter in self.flat.items()}


def sort_parameters(function: Callable[..., Any], defaults: Mapping[str, Any]) -> Parameters:
    """Return the parameters of a step; `defaults`, its flow's own, are those of its options, too."""
    hints = get_type_hints(function, include_extras=True)
    plain, flat, systems = [], {}, {}
    for name, parameter in inspect.signature(function).parameters.items():
        hint = hints[name]
        if _is_a(hint, Block) or _is_a(hint, Environment):
            systems[name] = hint
        elif FLAT in getattr(hint, "__metadata__", ()):
            flat[name] = _flatten(get_args(hint)[0], parameter.default, defaults)
        else:
            default = defaults.get(name, parameter.default)
            plain.append(_make_option(name, hint, default, returned=_find_returned(_strip_none(hint))))
    return Parameters(tuple(plain), flat, systems, defaults)


def _flatten(kind: type[BaseModel], default: Any, defaults: Mapping[str, Any]) -> FlatParameter:
    whole = None if default is REQUIRED else default
    options = []
    for name, hint in get_type_hints(kind, include_extras=True).items():
        if (found := kind.model_fields.get(name)) is None:
            continue
        own = getattr(whole, name) if whole else REQUIRED if found.is_required() else found.get_default()
        options.append(_make_option(name, hint, defaults.get(name, own), found.description, _find_returned(hint)))
    return FlatParameter(kind, whole, tuple(options))


def _make_option(
    name: str, hint: Any, default: Any, description: str | None = None, returned: type[BaseModel] | None = None
) -> Option:
    if returned is not None:
        text = f"JSON file with a {returned.__name__}, as the step that returns it printed it."
        return Option(name, hint, default, text, is_file=True)
    notes = (getattr(note, "description", None) for note in getattr(hint, "__metadata__", ()))
    return Option(name, hint, default, description or next(filter(None, notes), None))


def _find_returned(hint: Any) -> type[BaseModel] | None:
    """Return the model that a step returned a value of, or several; None for what people type."""
    one = get_args(hint)[0] if get_origin(hint) is tuple else hint
    return one if _is_a(one, BaseModel) else None


def _strip_none(hint: Any) -> Any:
    """Return the kind of a value that may be left out."""
    if get_origin(hint) not in (UnionType, Union):
        return hint
    kinds = [kind for kind in get_args(hint) if kind is not NoneType]
    return kinds[0] if len(kinds) == 1 else hint


def _is_a(kind: Any, base: type) -> bool:
    return inspect.isclass(kind) and issubclass(kind, base)
