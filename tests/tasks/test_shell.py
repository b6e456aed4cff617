"""Every step runs alone from a shell, with options made from its signature."""

import json
import uuid
from pathlib import Path
from typing import Any

import pytest

from blocks.wiring import Blocks
from tasks.__main__ import STEPS, main, step
from tasks.deployment.journal import open_entry
from tests.models import register_linear


@pytest.fixture
def model_name() -> str:
    """A model of this test's own."""
    return f"test-{uuid.uuid4().hex[:8]}-onnx"


def test_the_steps_of_both_flows_are_there_under_their_names() -> None:
    assert list(STEPS)[:4] == ["train", "promote", "export-onnx", "validate-onnx"]
    assert [step(name).__name__ for name in STEPS] == [name.replace("-", "_") for name in STEPS]


def test_a_step_s_options_have_the_flows_defaults_and_descriptions(capsys: pytest.CaptureFixture[str]) -> None:
    main(["train", "--help"])

    shown = " ".join(capsys.readouterr().out.replace("│", " ").split())
    assert "--epochs INT Passes over the training images. [default: 4]" in shown


def test_the_seven_steps_chain_through_files(
    blocks: Blocks, model_name: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    registered = register_linear(blocks.registry, model_name, seed=1)

    def run(*arguments: str) -> Any:
        capsys.readouterr()
        assert main(list(arguments)) == 0, capsys.readouterr().err
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
    run("commit-version", "--plan", plan, "--artifacts", artifacts)
    loaded = kept("loaded", run("reload-triton", "--model-name", model_name, "--serves", "3"))
    change = run(
        "update-aliases", "--model-name", model_name, "--registry-version", str(registered.version), "--plan", plan
    )
    verified = run("verify-deployment", "--fetched", fetched, "--version", "3", *shapes)
    proof = ["--candidate", candidate, "--loaded", loaded, "--verified", kept("verified", verified)]
    receipt = run("finish-release", "--plan", plan, "--fetched", fetched, *proof)

    assert change["after"] == {"deploy": registered.version, "live": registered.version}
    assert [replica["version"] for replica in receipt["replicas"]] == [3, 3]
    assert open_entry(blocks.repository, model_name) is None


@pytest.mark.parametrize(
    ("arguments", "status", "message"),
    [
        (["fetch-model", "--model-name", "no-such-model"], 1, "NotRegistered: model 'no-such-model' alias 'deploy'"),
        (["update-aliases", "--model-name", "m", "--registry-version", "x"], 2, "--registry-version"),
    ],
)
def test_bad_input_is_one_message_and_a_status(
    blocks: Blocks, arguments: list[str], status: int, message: str, capsys: pytest.CaptureFixture[str]
) -> None:
    try:
        observed = main(arguments)
    except SystemExit as end:
        observed = int(str(end.code))

    assert (observed, message in "".join(capsys.readouterr())) == (status, True)
