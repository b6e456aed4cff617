"""What comes of an error, whichever command it ended: its exit code and the lines that people read.

What is neither a failure nor bad input is a mistake of ours: Python shows where it happened and ends with 1.
"""

import sys

from cyclopts import CycloptsError, UnknownCommandError
from pydantic import ValidationError

from blocks.errors import SlipwayError, bounded
from infra.command.exit_codes import ExitCode
from infra.command.screen import errors

Kinds = tuple[type[Exception], ...]
_OF_BOTO = ("BotoCoreError", "ClientError")
_INPUT_CHARS = 300


def list_failures() -> Kinds:
    """Return the errors that end with 1: ours, and those of systems and files that are not translated into ours."""
    return (SlipwayError, OSError, *_find("httpx", "HTTPError"), *_find("botocore.exceptions", *_OF_BOTO))


def list_bad_input() -> Kinds:
    """Return the errors that end with 2: an option, a parameter or a setting that cannot be used."""
    return (CycloptsError, ValidationError, *_find("prefect.exceptions", "ParameterTypeError"))


def _find(module: str, *names: str) -> Kinds:
    """Return errors of a library; of one that is not imported none, since it can have raised none."""
    return tuple(getattr(sys.modules[module], name) for name in names) if module in sys.modules else ()


def report(error: Exception) -> ExitCode:
    """Show an error, and return the code to end with."""
    for line in explain(error):
        errors.print(line)
    return ExitCode.BAD_INPUT if isinstance(error, list_bad_input()) else ExitCode.FAILED


def explain(error: Exception) -> list[str]:
    """Return the lines that say what went wrong: one, or one for each value that cannot be used."""
    if isinstance(error, UnknownCommandError):
        return [_explain_unknown_command(error)]
    if isinstance(error, ValidationError):
        return _explain_values(error)
    if isinstance(error, list_bad_input()):
        return [str(error)]
    return [f"{type(error).__name__}: {error}"]


def _explain_unknown_command(error: UnknownCommandError) -> str:
    """Name the commands there are; the error's own text would import every one of them."""
    unknown = (error.unused_tokens or ["-"])[0]
    known = [name for name in error.app or () if not name.startswith("-")]
    return f"unknown command {unknown!r}; there are {', '.join(known)}; see --help"


def _explain_values(error: ValidationError) -> list[str]:
    from infra.settings import Settings, name_variable

    if error.title in {kind.__name__ for kind in Settings.__subclasses__()}:  # whose values may be secrets
        return [f"{name_variable(*found['loc'])}: {found['msg']}" for found in error.errors(include_input=False)]
    return [
        f"--{'.'.join(map(str, found['loc'])).replace('_', '-') or error.title}: {found['msg']}, "
        f"observed {bounded(repr(found['input']), _INPUT_CHARS)}"
        for found in error.errors()
    ]
