"""Whatever a command comes to, it ends with one of the exit codes, and an error is a line and no traceback."""

import os
import signal
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import httpx
import pytest
from botocore.exceptions import ClientError, EndpointConnectionError
from cyclopts import App
from prefect.exceptions import ParameterTypeError
from pydantic import SecretStr, validate_call

from blocks.errors import InvalidInput
from infra.command import main as command
from infra.command.exit_codes import ExitCode
from infra.errors import ClusterError, ImageError, StackError
from infra.events.settings import EventSettings
from infra.local.settings import ROOT, LocalStack


def returning(value: object) -> Callable[[], object]:
    return lambda: value


def raising(error: BaseException) -> Callable[[], None]:
    def fail() -> None:
        raise error

    return fail


@validate_call
def train(epochs: int) -> None: ...


def give_a_wrong_option() -> None:
    arguments: Any = {"epochs": "many"}
    train(**arguments)


def give_a_wrong_setting() -> None:
    LocalStack(host="0.0.0.0")


def give_a_weak_secret() -> None:
    EventSettings(mlflow_tracking_uri="http://m", events_url="http://e", webhook_secret=SecretStr("guessed"))


BOTO = ClientError({"Error": {"Code": "403", "Message": "Forbidden"}}, "HeadBucket")


@pytest.mark.parametrize(
    ("body", "code", "line"),
    [
        (returning(None), 0, ""),
        (returning(ExitCode.FAILED), 1, ""),
        (returning(ExitCode.REFUSED), 3, ""),
        (raising(InvalidInput("model '[red]m[/red]': none")), 1, "InvalidInput: model '[red]m[/red]': none\n"),
        (raising(StackError("no stack")), 1, "StackError: no stack\n"),
        (raising(ImageError("no image")), 1, "ImageError: no image\n"),
        (raising(ClusterError("no cluster")), 1, "ClusterError: no cluster\n"),
        (raising(FileNotFoundError(2, "No such file", "x")), 1, "FileNotFoundError: [Errno 2] No such file: 'x'\n"),
        (raising(httpx.ConnectError("refused")), 1, "ConnectError: refused\n"),
        (raising(EndpointConnectionError(endpoint_url="http://s3")), 1, "EndpointConnectionError: Could not connect"),
        (raising(BOTO), 1, "ClientError: An error occurred (403)"),
        (raising(ParameterTypeError("--to: no version")), 2, "--to: no version\n"),
        (give_a_wrong_option, 2, "--epochs: Input should be a valid integer"),
        (give_a_wrong_setting, 2, "SLIPWAY_HOST: Value error, host '0.0.0.0': expected a loopback address"),
        (give_a_weak_secret, 2, "SLIPWAY_WEBHOOK_SECRET: Value error, expected at least 16 characters"),
        (raising(KeyboardInterrupt()), 130, ""),
    ],
)
def test_an_outcome_has_its_exit_code_and_an_error_its_line(
    body: Callable[[], object],
    code: int,
    line: str,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    app = App(suppress_keyboard_interrupt=False)
    app.command(body, name="do")
    monkeypatch.setattr(command, "app", app)

    observed = command.run(["do"])

    out, errors = capsys.readouterr()
    assert (observed, out, errors[: len(line)]) == (code, "", line)
    assert "guessed" not in errors and errors.count("\n") == bool(line)


@pytest.mark.parametrize(
    ("arguments", "line"),
    [
        (["relaese"], "unknown command 'relaese'; there are status, explain-live, compare"),
        (["step", "trian"], "unknown command 'trian'; there are train, promote"),
        (["stack", "logs", "--lines=few"], "Invalid value for --lines: unable to convert"),
        (["explain-live"], 'Command "explain-live" parameter --model requires an argument'),
        (["stack", "up", "now"], "Unused Tokens: ['now']"),
    ],
)
def test_what_cannot_be_understood_is_bad_input_in_one_line(
    arguments: list[str], line: str, capsys: pytest.CaptureFixture[str]
) -> None:
    observed = command.run(arguments)

    out, errors = capsys.readouterr()
    assert (observed, out, errors[: len(line)], errors.count("\n")) == (ExitCode.BAD_INPUT, "", line, 1)


def test_a_mistake_of_ours_is_shown_whole(monkeypatch: pytest.MonkeyPatch) -> None:
    app = App()
    app.command(raising(ZeroDivisionError()), name="do")
    monkeypatch.setattr(command, "app", app)

    with pytest.raises(ZeroDivisionError):
        command.run(["do"])


def test_a_command_that_is_told_to_end_ends_with_its_own_code(tmp_path: Path) -> None:
    log = tmp_path / "logs" / "mlflow.log"
    log.parent.mkdir()
    log.write_text("began\n")

    following = subprocess.Popen(
        [sys.executable, "-m", "infra", "stack", "logs", "mlflow", "--follow"],
        cwd=ROOT,
        env=os.environ | {"SLIPWAY_STATE": str(tmp_path)},
        stdout=subprocess.PIPE,
        text=True,
    )
    assert following.stdout is not None and following.stdout.readline() == "began\n"
    following.send_signal(signal.SIGTERM)

    assert following.wait(60) == ExitCode.TERMINATED
    assert following.stdout.read() == "", "what it had started has ended, too"
