"""What comes of an error, whichever command it ended: its exit code and the lines that people read.

Whatever is in none of the two tables is a mistake of ours: Python shows where it happened and ends with 1.
"""

from botocore.exceptions import BotoCoreError, ClientError
from cyclopts import CycloptsError
from httpx import HTTPError
from prefect.exceptions import ParameterTypeError
from pydantic import ValidationError

from blocks.errors import SlipwayError, bounded
from infra.command.exit_codes import ExitCode
from infra.command.screen import errors
from infra.settings import Settings, name_variable

FAILURES = (SlipwayError, OSError, HTTPError, BotoCoreError, ClientError)
BAD_INPUT = (ValidationError, ParameterTypeError, CycloptsError)
FORESEEN = (*FAILURES, *BAD_INPUT)
_INPUT_CHARS = 300


def report(error: Exception) -> ExitCode:
    """Show an error that is foreseen, and return the code to end with."""
    for line in explain(error):
        errors.print(line)
    return ExitCode.BAD_INPUT if isinstance(error, BAD_INPUT) else ExitCode.FAILED


def explain(error: Exception) -> list[str]:
    """Return the lines that say what went wrong: one, or one for each value that cannot be used."""
    if isinstance(error, ValidationError):
        return _explain_settings(error) if _is_of_settings(error) else _explain_options(error)
    if isinstance(error, BAD_INPUT):
        return [str(error)]
    return [f"{type(error).__name__}: {error}"]


def _is_of_settings(error: ValidationError) -> bool:
    return error.title in {kind.__name__ for kind in Settings.__subclasses__()}


def _explain_settings(error: ValidationError) -> list[str]:
    """Name variables and what is wrong with each, and never a value: it may be a secret."""
    return [f"{name_variable(*found['loc'])}: {found['msg']}" for found in error.errors(include_input=False)]


def _explain_options(error: ValidationError) -> list[str]:
    return [
        f"--{'.'.join(map(str, found['loc'])).replace('_', '-') or error.title}: {found['msg']}, "
        f"observed {bounded(repr(found['input']), _INPUT_CHARS)}"
        for found in error.errors()
    ]
