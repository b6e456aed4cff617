"""`slipway step STEP`: one step of a flow from a shell, its options made from the step's own signature."""

from collections.abc import Callable
from enum import Enum
from typing import NamedTuple

from cyclopts import App, Parameter

from infra.command.exit_codes import ExitCode


class Turn(Enum):
    """What a step does with the lock of its model."""

    NONE = "changes nothing, and needs no lock"
    BEGINS = "takes it for the plan's session"
    KEEPS = "goes on with the plan's session; without a plan, it holds the lock for itself"
    ENDS = "goes on with the plan's session, and lets the lock go once it is done"
    SETTLES = "takes it over from whichever session has it, and lets it go"


class Step(NamedTuple):
    """The flow a step belongs to, and whether it needs its model's lock."""

    flow: str
    turn: Turn = Turn.NONE


STEPS = {
    "train": Step("training"),
    "promote": Step("training"),
    "export-onnx": Step("training"),
    "validate-onnx": Step("training"),
    "fetch-model": Step("deployment"),
    "determine-version": Step("deployment"),
    "prepare-artifacts": Step("deployment"),
    "upload-to-s3": Step("deployment", Turn.BEGINS),
    "prove-candidate": Step("deployment", Turn.KEEPS),
    "commit-version": Step("deployment", Turn.KEEPS),
    "reload-triton": Step("deployment"),
    "update-aliases": Step("deployment", Turn.KEEPS),
    "verify-deployment": Step("deployment"),
    "finish-release": Step("deployment", Turn.ENDS),
    "settle-release": Step("deployment", Turn.SETTLES),
}

CHAIN = """
Blocks are loaded from Prefect; a value that another step returned is given as the JSON file that step printed, so that
steps chain as they do in the flow:

    slipway step fetch-model --model-name resnet18-digits-onnx > fetched.json
    slipway step determine-version --fetched fetched.json > plan.json
"""
app = App(name="step", help_epilogue=CHAIN, default_parameter=Parameter(json_list=True))
for position, (name, step) in enumerate(STEPS.items()):
    app.command(f"{__name__}:{name}", name=name, help=f"A step of the {step.flow} flow.", sort_key=position)


def __getattr__(name: str) -> Callable[..., ExitCode]:
    """Return the command of a step, which cyclopts asks for by name once it is called: no other step is imported."""
    if name not in STEPS:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    from infra.command.running import load_step, make_command, read_defaults

    return make_command(load_step(name), read_defaults(STEPS[name].flow), STEPS[name].turn)
