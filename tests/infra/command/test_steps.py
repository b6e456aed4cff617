"""Every step runs alone from a shell, with options made from its signature."""

import json
import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from cyclopts import App, Parameter
from prefect.settings import PREFECT_API_URL, temporary_settings

from blocks.environment import Environment
from infra.command.exit_codes import ExitCode
from infra.command.main import run as run_command
from infra.command.running import load_step, make_command
from infra.command.steps import STEPS
from infra.local.settings import ROOT
from slipway.learning.gate import Criteria, Verdict, judge
from slipway.releases.journal import read_open
from tests.apparatus.models import register_linear
from tests.apparatus.ports import free_port


def test_the_steps_of_both_flows_are_there_under_their_names() -> None:
    assert list(STEPS)[:4] == ["train", "promote", "export-onnx", "validate-onnx"]
    assert [load_step(name).__name__ for name in STEPS] == [name.replace("-", "_") for name in STEPS]


def test_a_step_s_options_have_the_flows_defaults_and_descriptions(capsys: pytest.CaptureFixture[str]) -> None:
    run_command(["step", "train", "--help"])

    shown = " ".join(capsys.readouterr().out.replace("│", " ").split())
    assert "--seed INT Seed of weights, shuffling and augmentation. [default: 0]" in shown


def test_the_seven_steps_chain_through_files(
    environment: Environment, model_name: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    registered = register_linear(environment.registry, model_name, seed=1)

    def run(*arguments: str) -> Any:
        capsys.readouterr()
        assert run_command(["step", *arguments]) == 0, capsys.readouterr().err
        return json.loads(capsys.readouterr().out)

    def kept(name: str, value: Any) -> str:
        (tmp_path / name).write_text(json.dumps(value))
        return str(tmp_path / name)

    fetched = kept("fetched", run("fetch-model", "--model-name", model_name, "--source=alias:deploy"))
    plan = kept("plan", run("determine-version", "--fetched", fetched, "--force-version=3"))
    shapes = ["--expected-input-shape=[1,4]", "--expected-output-shape=[1,3]"]
    artifacts = kept("artifacts", run("prepare-artifacts", "--fetched", fetched, "--plan", plan, *shapes))
    run("upload-to-s3", "--fetched", fetched, "--plan", plan, "--artifacts", artifacts)
    prepared = ["--fetched", fetched, "--plan", plan, "--artifacts", artifacts]
    candidate = kept("candidate", run("prove-candidate", *prepared, *shapes))
    run("commit-version", "--plan", plan)
    loaded = kept("loaded", run("reload-triton", "--model-name", model_name, "--serves", "3"))
    change = run(
        "update-aliases", "--model-name", model_name, "--registry-version", str(registered.version), "--plan", plan
    )
    verified = run("verify-deployment", "--fetched", fetched, "--version", "3", *shapes)
    proof = ["--candidate", candidate, "--loaded", loaded, "--verified", kept("verified", verified)]
    receipt = run("finish-release", "--plan", plan, "--fetched", fetched, *proof)

    assert change["after"] == {"deploy": registered.version, "live": registered.version}
    assert [replica["version"] for replica in receipt["replicas"]] == [3, 3]
    assert read_open(environment.repository, model_name) is None


@pytest.mark.parametrize(
    ("arguments", "status", "message"),
    [
        (["fetch-model", "--model-name", "no-such-model"], 1, "NotRegistered: model 'no-such-model' alias 'deploy'"),
        (["update-aliases", "--model-name", "m", "--registry-version", "x"], 2, "--registry-version"),
    ],
)
def test_bad_input_is_one_message_and_a_status(
    environment: Environment, arguments: list[str], status: int, message: str, capsys: pytest.CaptureFixture[str]
) -> None:
    observed = run_command(["step", *arguments])

    assert (observed, message in capsys.readouterr().err) == (status, True)


def promoted(accuracy: float) -> Verdict:
    """Judge, and talk about it."""
    print("View run at http://mlflow")  # noqa: T201
    os.write(1, b"[=====>    ] 50 %\n")
    criteria = Criteria(metric_name="accuracy", greater_is_better=True, metric_threshold=0.9, min_improvement=0.0)
    return judge("m", 1, criteria, candidate_value=accuracy, champion_version=None, champion_value=None)


def run_alone(function: Callable[..., Any], *arguments: str) -> ExitCode:
    app = App(default_parameter=Parameter(json_list=True))
    app.command(make_command(function, {}), name="step")
    code = app(["step", *arguments], result_action="return_value")
    assert isinstance(code, ExitCode)
    return code


def test_whatever_a_step_prints_stdout_is_left_to_its_result(capfd: pytest.CaptureFixture[str]) -> None:
    run_alone(promoted, "--accuracy=0.95")

    shown = capfd.readouterr()
    assert json.loads(shown.out)["passed"] and "View run" in shown.err and "50 %" in shown.err


@pytest.mark.parametrize(
    ("arguments", "status", "passed"),
    [
        (["--accuracy=0.95", "--exit-code"], 0, True),
        (["--accuracy=0.5", "--exit-code"], ExitCode.REFUSED, False),
        (["--accuracy=0.5"], 0, False),
    ],
)
def test_a_refusal_is_told_from_a_pass_by_json_and_where_asked_for_by_status(
    arguments: list[str], status: int, passed: bool, capfd: pytest.CaptureFixture[str]
) -> None:
    code = run_alone(promoted, *arguments)

    shown = capfd.readouterr().out
    assert (code, json.loads(shown)["passed"]) == (status, passed)
    assert json.loads(shown)["reason"].startswith("model 'm' version 1 ")
    assert Verdict.model_validate_json(shown).passed == passed


def test_a_step_that_needs_a_server_says_in_one_line_that_prefect_does_not_run(
    capsys: pytest.CaptureFixture[str],
) -> None:
    address = f"http://127.0.0.1:{free_port()}/api"

    with temporary_settings({PREFECT_API_URL: address}):
        status = run_command(["step", "fetch-model", "--model-name", "m"])

    out, errors = capsys.readouterr()
    assert (status, out, errors.count("\n")) == (1, "", 1)
    assert errors.startswith(f"ServiceUnavailable: Prefect at {address}: no answer")


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["infra", "step", "fetch-model", "--model-name=m"], "InvalidInput: Prefect: no address is set"),
        (["tasks", "prepare-artifacts", "--fetched=none", "--plan=none"], "InvalidInput: --fetched none: no JSON file"),
        (["infra", "status"], "InvalidInput: Prefect: no address is set"),
        (["infra", "rollback", "m"], "InvalidInput: Prefect: no address is set"),
    ],
)
def test_a_step_called_outside_of_the_folder_ends_with_a_line_and_no_traceback(
    tmp_path: Path, arguments: list[str], message: str
) -> None:
    named = ("PREFECT_", "SLIPWAY_", "MLFLOW_")
    known = {name: value for name, value in os.environ.items() if not name.startswith(named)}
    environment = known | {"PYTHONPATH": str(ROOT), "PREFECT_HOME": str(tmp_path)}

    called = [sys.executable, "-m", *arguments]
    ended = subprocess.run(called, cwd=tmp_path, env=environment, capture_output=True, text=True, check=False)

    assert (ended.returncode, ended.stdout, ended.stderr.count("\n")) == (1, "", 1), ended.stderr
    assert ended.stderr.startswith(message)
