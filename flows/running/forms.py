"""The form of a flow in the Prefect UI: flat, whatever values the flow works with, and with a help text a field."""

import inspect
from collections.abc import Callable, Iterator
from functools import wraps
from typing import Any, TypeVar, get_args, get_type_hints, overload

from pydantic import BaseModel
from pydantic.fields import FieldInfo

from tasks.policies import FLAT

F = TypeVar("F", bound=Callable[..., Any])
R = TypeVar("R")


@overload
def with_form(defaults: None = None) -> Callable[[F], F]: ...
@overload
def with_form(defaults: BaseModel) -> Callable[[Callable[..., R]], Callable[..., R]]: ...
def with_form(defaults: BaseModel | None = None) -> Callable[[Callable[..., Any]], Callable[..., Any]]:
    """Return a decorator of functions that Prefect shows as a form.

    A parameter marked `FLAT` becomes one parameter for each of its model's fields, with the value of that name in
    `defaults`; the function is called with the model. Prefect takes help texts from the docstring alone: it gets an
    `Args:` section, made of the descriptions in the types.
    """

    def decorate(function: Callable[..., Any]) -> Callable[..., Any]:
        models = {name: get_args(hint)[0] for name, hint in _read_hints(function) if FLAT in _read_notes(hint)}
        signature = inspect.Signature(list(_flatten(function, models, defaults)))

        @wraps(function)
        def call(*args: Any, **kwargs: Any) -> Any:
            bound = signature.bind(*args, **kwargs)
            bound.apply_defaults()
            given = dict(bound.arguments)
            for name, model in models.items():
                given[name] = model(**{field: given.pop(field) for field in model.model_fields})
            return function(**given)

        call.__signature__ = signature  # type: ignore[attr-defined]
        call.__doc__ = _describe(function, signature)
        return call

    return decorate


def _flatten(
    function: Callable[..., Any], models: dict[str, type[BaseModel]], defaults: BaseModel | None
) -> Iterator[inspect.Parameter]:
    """Yield the parameters of the form, in the order of the function's."""
    kind = inspect.Parameter.POSITIONAL_OR_KEYWORD
    hints = dict(_read_hints(function))
    for name, parameter in inspect.signature(function).parameters.items():
        if name not in models:
            yield parameter.replace(annotation=hints[name])
            continue
        for field, hint in _read_hints(models[name]):
            if field in models[name].model_fields:
                yield inspect.Parameter(
                    field, kind, default=getattr(defaults, field, inspect.Parameter.empty), annotation=hint
                )


def _describe(function: Callable[..., Any], signature: inspect.Signature) -> str:
    """Return a docstring with an `Args:` section."""
    lines = [
        f"        {name}: {note.description}"
        for name, parameter in signature.parameters.items()
        for note in _read_notes(parameter.annotation)
        if isinstance(note, FieldInfo) and note.description
    ]
    return "\n".join([(function.__doc__ or "").rstrip(), "", "    Args:", *lines, ""])


def _read_hints(thing: Any) -> list[tuple[str, Any]]:
    return list(get_type_hints(thing, include_extras=True).items())


def _read_notes(hint: Any) -> tuple[Any, ...]:
    return tuple(getattr(hint, "__metadata__", ()))
