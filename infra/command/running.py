"""Runs a step that was called from a shell: options in, its result's JSON out."""

import importlib
import inspect
import os
import sys
import tomllib
from collections.abc import Callable, Iterator
from contextlib import contextmanager, redirect_stdout
from pathlib import Path
from typing import Annotated, Any

from cyclopts import Parameter
from prefect.settings import PREFECT_API_URL
from pydantic import ConfigDict, TypeAdapter, validate_call

from blocks.environment import Environment, load_block, load_environment, require_prefect
from blocks.errors import InvalidInput, bounded
from blocks.registry import ModelRegistry
from infra.command.exit_codes import ExitCode
from infra.command.options import Parameters, sort_parameters
from infra.command.scripts.places import TRACKING, find_registry
from infra.command.steps import STEPS, Turn
from infra.command.turns import take_turn

DEFAULTS = Path(__file__).resolve().parents[2] / "flows" / "defaults.toml"
_SECTIONS = {
    "training": "train-model",
    "deployment": "deploy-model",
    "publication": "publish-model",
    "yolo": "train-yolo",
}
_EXIT_CODE = inspect.Parameter(
    "exit_code",
    inspect.Parameter.KEYWORD_ONLY,
    default=False,
    annotation=Annotated[bool, Parameter(negative=(), help="End with status 3 where the verdict is a refusal.")],
)


def load_step(name: str) -> Callable[..., Any]:
    """Return the plain function behind a step; its own module and what that needs is imported."""
    module = name.replace("-", "_")
    function = getattr(importlib.import_module(f"tasks.{STEPS[name].flow}.{module}"), module)
    return getattr(function, "fn", function)  # type: ignore[no-any-return]


def read_defaults(flow: str) -> dict[str, Any]:
    """Return the defaults of a flow, from the flows' one file."""
    path = Path(os.environ.get("SLIPWAY_DEFAULTS", DEFAULTS))
    try:
        return dict(tomllib.loads(path.read_text()).get(_SECTIONS[flow], {}))
    except (OSError, ValueError) as error:
        raise InvalidInput(
            f"defaults of the flows at {path}: {bounded(error)}; correct SLIPWAY_DEFAULTS or that file"
        ) from error


def make_command(
    function: Callable[..., Any], defaults: dict[str, Any], turn: Turn = Turn.NONE
) -> Callable[..., ExitCode]:
    """Return a function of plain options that runs a step, prints its result as JSON and returns the code to end with.

    An option is required where neither the step nor `defaults`, the flow's own, give a value. A step that judges has
    the option --exit-code.
    """
    parameters = sort_parameters(function, defaults)

    def run(**given: Any) -> ExitCode:
        tells = given.pop(_EXIT_CODE.name, False)
        with _keep_stdout_for_the_result():
            result = call(function, parameters, given, turn)
        print(TypeAdapter(Any).dump_json(result, indent=2).decode())  # noqa: T201
        return ExitCode.REFUSED if tells and not result.passed else ExitCode.DONE

    run.__doc__ = (inspect.getdoc(function) or "").split("\n\n", 1)[0]
    judges = hasattr(inspect.get_annotations(function, eval_str=True).get("return"), "passed")
    options = [option.make_parameter() for option in parameters.options]
    run.__signature__ = inspect.Signature([*options, *([_EXIT_CODE] if judges else [])])  # type: ignore[attr-defined]
    return run


def call(function: Callable[..., Any], parameters: Parameters, given: dict[str, Any], turn: Turn) -> Any:
    """Run a step with what was given and the systems it asks for, its model's lock held where it changes something."""
    values, systems = parameters.read_values(given), _load_systems(parameters)
    with take_turn(turn, values, systems) as (current, fenced):
        checked = validate_call(config=ConfigDict(arbitrary_types_allowed=True))(function)
        return checked(**parameters.compose_arguments(current), **fenced)


def _load_systems(parameters: Parameters) -> dict[str, Any]:
    """Return the systems a step asks for: from Prefect, or, of one that asks the registry alone, from variables."""
    if set(parameters.systems.values()) == {ModelRegistry} and not PREFECT_API_URL.value() and TRACKING in os.environ:
        return dict.fromkeys(parameters.systems, find_registry(None))
    if parameters.systems:
        require_prefect()
    return {
        name: load_environment() if issubclass(kind, Environment) else load_block(kind)
        for name, kind in parameters.systems.items()
    }


@contextmanager
def _keep_stdout_for_the_result() -> Iterator[None]:
    """Have all that a step and its libraries print go to stderr, so that stdout is the result's JSON and no more."""
    sys.stdout.flush()
    stdout = os.dup(1)
    os.dup2(2, 1)
    try:
        with redirect_stdout(sys.stderr):
            yield
    finally:
        os.dup2(stdout, 1)
        os.close(stdout)
