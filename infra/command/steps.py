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
    """A step as it is listed: the flow it belongs to, what it does, and whether it needs its model's lock."""

    flow: str
    summary: str
    turn: Turn = Turn.NONE


STEPS = {
    "train": Step("training", "Train a candidate, log it and register it."),
    "promote": Step("training", "Gate 1: make a candidate champion where it is better, in figures."),
    "export-onnx": Step("training", "Export a model to ONNX and register it."),
    "validate-onnx": Step("training", "Gate 2: prove that the ONNX model computes what the PyTorch model computes."),
    "fetch-model": Step("deployment", "Download a registered model and check it."),
    "determine-version": Step("deployment", "Plan a release: its number in the repository, and the state before."),
    "prepare-artifacts": Step("deployment", "Write the metadata and the configuration of a version."),
    "upload-to-s3": Step("deployment", "Put a version's files into staging, which Triton does not read.", Turn.BEGINS),
    "prove-candidate": Step("deployment", "Prove a staged version on one replica, and gate 3 with it.", Turn.KEEPS),
    "commit-version": Step("deployment", "Commit a version: from here on a replica that starts serves it.", Turn.KEEPS),
    "reload-triton": Step("deployment", "Load a model on every replica, in waves, each proven."),
    "update-aliases": Step("deployment", "Point live and previous at what is served.", Turn.KEEPS),
    "verify-deployment": Step("deployment", "Ask every replica for what the proven model answered."),
    "finish-release": Step("deployment", "Close a verified release: receipt, tags and archive.", Turn.ENDS),
    "settle-release": Step("deployment", "Finish or undo what a broken release left.", Turn.SETTLES),
    "check-dataset": Step("yolo", "Check every picture and label line of a YOLO dataset."),
    "split-dataset": Step("yolo", "Deal its pictures out: 0.7 to learn from, 0.2 to choose by, 0.1 to judge by."),
    "train-detector": Step("yolo", "Train a YOLO network; its best epoch is kept in MLflow."),
    "export-detector": Step("yolo", "Gate 2: export a detector to ONNX that computes what PyTorch computes."),
    "judge-detector": Step("yolo", "Gate 1: mAP50-95 and milliseconds of a detector, beside the champion's."),
    "register-detector": Step("yolo", "Register a detector that passed, as champion, and ask for its release."),
    "register-model": Step("publication", "Check a model on disk and register it."),
}

_CHAINING = """
Blocks are loaded from Prefect; a value that another step returned is given as the JSON file that step printed, so that
steps chain as they do in the flow:

    slipway step fetch-model --model-name resnet18-digits-onnx > fetched.json
    slipway step determine-version --fetched fetched.json > plan.json

Seven of them stand alone as well, with files in an --output-dir and no Prefect server: slipway script --help.
"""
app = App(name="step", help_epilogue=_CHAINING, default_parameter=Parameter(json_list=True))
for position, (name, step) in enumerate(STEPS.items()):
    app.command(f"{__name__}:{name}", name=name, help=step.summary, help_epilogue="", sort_key=position)


def __getattr__(name: str) -> Callable[..., ExitCode]:
    """Return the command of a step, which cyclopts asks for by name once it is called: no other step is imported."""
    if name not in STEPS:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    from infra.command.running import load_step, make_command, read_defaults

    return make_command(load_step(name), read_defaults(STEPS[name].flow), STEPS[name].turn)
