"""One command, whose help is there at once: nothing of a command is imported that was not called."""

import subprocess
import sys

import pytest

from infra.command.main import COMMANDS, run
from infra.local.settings import ROOT

HEAVY = ("prefect", "mlflow", "onnx", "torch", "tritonclient", "boto3")


def import_for(*arguments: str) -> tuple[set[str], str]:
    """Return which heavy libraries a call of the command imports, and what it shows."""
    code = (
        f"import sys; from infra.command.main import run; run({list(arguments)!r}); "
        f"print(*({set(HEAVY)!r} & sys.modules.keys()), file=sys.stderr)"
    )
    ended = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=True)
    return set(ended.stderr.split()), ended.stdout


def load(step: str) -> set[str]:
    """Return which heavy libraries a fresh interpreter has imported once a step is loaded."""
    code = f"import sys; from infra.command.running import load_step; load_step({step!r}); print(*sys.modules)"
    ended = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=True)
    return set(HEAVY) & set(ended.stdout.split())


def test_help_lists_every_command_and_imports_none() -> None:
    imported, shown = import_for("--help")

    assert imported == set()
    assert all(f" {name} " in shown for name in COMMANDS)


def test_the_steps_are_listed_without_any_of_their_libraries() -> None:
    imported, shown = import_for("step", "--help")

    assert imported == set()
    assert all(f" {name} " in shown for name in ("train", "promote", "fetch-model", "settle-release"))


@pytest.mark.parametrize("step", ["upload-to-s3", "commit-version", "reload-triton", "verify-deployment"])
def test_a_step_that_asks_no_registry_is_loaded_without_mlflow(step: str) -> None:
    assert load(step).isdisjoint({"mlflow", "torch"})


def test_the_stack_needs_no_prefect_before_its_servers_are_up() -> None:
    imported, _ = import_for("stack", "--help")

    assert imported <= {"boto3"}


@pytest.mark.parametrize("arguments", [["setup"], ["images"], ["cluster"], ["events"], ["stack"]])
def test_every_group_says_what_it_takes(arguments: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    code = run([*arguments, "--help"])

    assert (code, capsys.readouterr().out.startswith(f"Usage: slipway {arguments[0]}")) == (0, True)
