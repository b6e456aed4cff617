"""Run one step of a flow from a shell: `python -m tasks fetch-model --model-name resnet18-digits-onnx`.

The commands and their options are made from the steps' own signatures. Blocks are loaded from Prefect; a value
that another step returned is given as the JSON file that step printed, so steps chain like the flow does:

    python -m tasks fetch-model --model-name resnet18-digits-onnx > fetched.json
    python -m tasks determine-version --fetched fetched.json > plan.json
"""

import importlib
import inspect
import os
import sys
import tomllib
from collections.abc import Callable, Iterator
from contextlib import contextmanager, redirect_stdout
from pathlib import Path
from types import UnionType
from typing import Annotated, Any, NamedTuple, get_args, get_origin, get_type_hints

from cyclopts import App, Parameter
from prefect.blocks.core import Block
from pydantic import BaseModel, ConfigDict, TypeAdapter, ValidationError, validate_call
from rich.console import Console

from blocks.environment import load_block, require_prefect
from blocks.errors import InvalidInput, SlipwayError, bounded
from blocks.fence import Fenced
from slipway.releases.lock import Fence, model_lock, release
from slipway.releases.plan import ReleasePlan
from slipway.releases.session import hold_for_session, lock_of_session

REFUSED = 3
_EXIT_CODE = inspect.Parameter(
    "exit_code",
    inspect.Parameter.KEYWORD_ONLY,
    default=False,
    annotation=Annotated[bool, Parameter(negative=(), help="End with status 3 where the verdict is a refusal.")],
)
STEPS = {
    "train": "slipway.learning.training",
    "promote": "slipway.learning.promotion",
    "export-onnx": "slipway.learning.export",
    "validate-onnx": "slipway.learning.validation",
    "fetch-model": "slipway.releases.fetching",
    "determine-version": "slipway.releases.planning",
    "prepare-artifacts": "slipway.releases.artifacts",
    "upload-to-s3": "tasks.deployment.upload_to_s3",
    "prove-candidate": "slipway.releases.candidate",
    "commit-version": "tasks.deployment.commit_version",
    "reload-triton": "slipway.releases.replicas",
    "update-aliases": "slipway.releases.aliases",
    "verify-deployment": "slipway.releases.verification",
    "finish-release": "slipway.releases.completion",
    "settle-release": "slipway.releases.settlement",
}


# Steps that change something of a model; all but settle-release go on with a plan, or hold the lock for themselves.
CHANGING = {"upload_to_s3", "prove_candidate", "commit_version", "update_aliases", "finish_release"}


def step(name: str) -> Callable[..., Any]:
    """Return the plain function behind a step; only its own module and what that needs is imported."""
    function = getattr(importlib.import_module(STEPS[name]), name.replace("-", "_"))
    return getattr(function, "fn", function)  # type: ignore[no-any-return]


class Outcome(NamedTuple):
    """What a step returned, as JSON, and the status to end with."""

    json: str
    status: int = 0


def command(function: Callable[..., Any], defaults: dict[str, Any]) -> Callable[..., Outcome]:
    """Return a function of plain options that runs a step and returns its result as JSON.

    An option is required where neither the step nor `defaults`, the flow's own, give a value. A step that judges has
    the option --exit-code.
    """
    hints = get_type_hints(function, include_extras=True)
    environment = {name: kind for name, kind in hints.items() if name != "return" and _is_a(kind, Block)}
    files = {name for name, kind in hints.items() if name != "return" and _from_file(kind) and name not in environment}
    checked = validate_call(config=ConfigDict(arbitrary_types_allowed=True))(function)

    def run(**options: Any) -> Outcome:
        tells = options.pop(_EXIT_CODE.name, False)
        given = {name: _read(value, name) if name in files else value for name, value in options.items()}
        values = {name: value for name, value in defaults.items() if name in hints} | given
        with _result_alone_on_stdout():
            if environment:
                require_prefect()
            loaded = {name: load_block(kind) for name, kind in environment.items()}
            with _session(function.__name__, values, loaded):
                result = checked(**values, **loaded)
        refused = tells and not result.passed
        return Outcome(TypeAdapter(Any).dump_json(result, indent=2).decode(), REFUSED if refused else 0)

    run.__doc__ = (inspect.getdoc(function) or "").split("\n\n", 1)[0]
    options = [
        parameter.replace(
            kind=inspect.Parameter.KEYWORD_ONLY,
            default=defaults.get(name, parameter.default),
            annotation=_option(hints[name], is_file=name in files),
        )
        for name, parameter in inspect.signature(function).parameters.items()
        if name not in environment
    ]
    judges = hasattr(hints.get("return"), "passed")
    run.__signature__ = inspect.Signature([*options, *([_EXIT_CODE] if judges else [])])  # type: ignore[attr-defined]
    return run


@contextmanager
def _session(step: str, values: dict[str, Any], loaded: dict[str, Any]) -> Iterator[None]:
    """Put the blocks of a step that changes something behind the lock of its shell session, where it has one.

    The plan carries the session from step to step; finish-release ends it, and so does settle-release.
    """
    repository = loaded.get("repository")
    if repository is None or (step != "settle_release" and step not in CHANGING):
        yield
        return
    if step == "settle_release":
        with lock_of_session(repository, values["model_name"]) as fence:
            loaded |= _fenced(loaded, fence)
            yield
        return
    if values.get("plan") is None:
        with model_lock(values["model_name"], repository, wait_s=0) as fence:
            loaded |= _fenced(loaded, fence)
            yield
        return
    plan = ReleasePlan.model_validate(values["plan"])
    fence = hold_for_session(repository, plan, begins=step == "upload_to_s3")
    values["plan"] = plan.model_copy(update={"epoch": fence.epoch})
    loaded |= _fenced(loaded, fence)
    yield
    if step == "finish_release":
        release(fence)


def _fenced(loaded: dict[str, Any], fence: Fence) -> dict[str, Any]:
    return {name: block.behind(fence.require) if isinstance(block, Fenced) else block for name, block in loaded.items()}


@contextmanager
def _result_alone_on_stdout() -> Iterator[None]:
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


def flow_defaults(name: str) -> dict[str, Any]:
    """Return the defaults of the flow a step belongs to, from the flows' one file."""
    path = Path(os.environ.get("SLIPWAY_DEFAULTS", Path(__file__).parents[1] / "flows" / "defaults.toml"))
    section = "train-model" if ".learning." in STEPS[name] else "deploy-model"
    try:
        return dict(tomllib.loads(path.read_text()).get(section, {}))
    except (OSError, ValueError) as error:
        raise InvalidInput(
            f"defaults of the flows at {path}: {bounded(error)}; correct SLIPWAY_DEFAULTS or that file"
        ) from error


def _option(hint: Any, is_file: bool) -> Any:
    """Return the annotation of an option, with the help its type describes."""
    if is_file:
        return Annotated[
            Path, Parameter(help=f"JSON file with a {_named(hint)}, as the step that returns it printed it.")
        ]
    described = [note.description for note in getattr(hint, "__metadata__", ()) if getattr(note, "description", None)]
    return Annotated[hint, Parameter(help=described[0])] if described else hint


def _named(hint: Any) -> str:
    return hint.__name__ if inspect.isclass(hint) else str(get_args(hint)[0].__name__)


def _from_file(kind: Any) -> bool:
    """Tell whether a value is what a step returns: a model, a tuple of models, or a plan that may be left out."""
    if get_origin(kind) is UnionType:
        return ReleasePlan in get_args(kind)
    return _is_a(kind, BaseModel) or (get_origin(kind) is tuple and _is_a(get_args(kind)[0], BaseModel))


def _is_a(kind: Any, base: type) -> bool:
    return inspect.isclass(kind) and issubclass(kind, base)


def _read(path: Path, name: str) -> Any:
    try:
        return TypeAdapter(Any).validate_json(path.read_bytes())
    except (OSError, ValidationError) as error:
        option = name.replace("_", "-")
        raise InvalidInput(
            f"--{option} {path}: no JSON file ({bounded(error, 300)}); expected what the step that returns it printed"
        ) from error


def main(arguments: list[str]) -> int:
    """Run the step the first argument names; 0 where it succeeded, 1 where it failed, 2 for bad input, 3 if refused."""
    console = Console(stderr=True, highlight=False, markup=False, emoji=False, soft_wrap=True)
    app = App(name="python -m tasks", help=__doc__, default_parameter=Parameter(json_list=True))
    wanted = [name for name in STEPS if name in arguments[:1]]
    try:
        for position, name in enumerate(wanted or STEPS):
            made = command(step(name), flow_defaults(name)) if wanted else _unloaded(name)
            app.command(made, name=name, sort_key=position)
        outcome = app(arguments, result_action="return_value")
    except SlipwayError as error:
        console.print(f"{type(error).__name__}: {error}", style="red")
        return 1
    except ValidationError as error:
        for problem in error.errors():
            where = ".".join(str(part) for part in problem["loc"])
            observed = bounded(repr(problem["input"]), 300)
            console.print(f"--{where}: {problem['msg']}, observed {observed}", style="red")
        return 2
    if not isinstance(outcome, Outcome):
        return 0
    print(outcome.json)  # noqa: T201
    return outcome.status


def _flow(name: str) -> str:
    return "training" if ".learning." in STEPS[name] else "deployment"


def _unloaded(name: str) -> Callable[[], None]:
    """Stand in for a step in the list of commands, so that listing them does not import torch."""

    def listed() -> None: ...

    listed.__doc__ = f"Step of the {_flow(name)} flow; its options: python -m tasks {name} --help"
    return listed


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
