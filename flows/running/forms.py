"""The help texts of a flow's form in the Prefect UI."""

from collections.abc import Callable
from typing import Any, TypeVar, get_type_hints

from pydantic.fields import FieldInfo

F = TypeVar("F", bound=Callable[..., Any])


def described(function: F) -> F:
    """Add an `Args:` section, made of the descriptions in the parameters' types, to a function's docstring.

    Prefect takes a form's help texts from the docstring alone; this spares writing each of them twice.
    """
    lines = [
        f"        {name}: {note.description}"
        for name, hint in get_type_hints(function, include_extras=True).items()
        for note in getattr(hint, "__metadata__", ())
        if isinstance(note, FieldInfo) and note.description
    ]
    function.__doc__ = "\n".join(
        [(function.__doc__ or "").rstrip(), "", "    Args:", *(f"    {line}" for line in lines), ""]
    )
    return function
