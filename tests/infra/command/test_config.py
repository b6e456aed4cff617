"""slipway config: what is said of a model and by whom, what would change, and that it is served once released."""

import json
import re
from collections.abc import Callable
from pathlib import Path

import pytest

from blocks.environment import Environment
from infra.command.main import run as run_command
from slipway.releases.kept_settings import read_kept
from tests.apparatus.given import given
from tests.apparatus.locks import commit_by_hand

Ran = tuple[int, str, str]


@pytest.fixture
def run(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> Callable[..., Ran]:
    """Run a command as one whose output is a file's; status, output and errors."""
    monkeypatch.delenv("COLUMNS", raising=False)

    def at_the_prompt(*arguments: str) -> Ran:
        capsys.readouterr()
        return run_command(["config", *arguments]), *capsys.readouterr()

    return at_the_prompt


def test_settings_are_tried_set_shown_and_released(
    environment: Environment, model_name: str, run: Callable[..., Ran], tmp_path: Path
) -> None:
    given(environment, model_name).released()
    (tmp_path / "busy.toml").write_text('instances = 3\npreferred_batch_sizes = [4, 8]\nwarm_up = "zeros"\n')
    options = (model_name, "--from", str(tmp_path / "busy.toml"), "--instances", "2")

    status, shown, _ = run("set", *options, "--dry-run")

    assert status == 0
    assert "-  count: 1\n+  count: 2\n" in shown and "+  preferred_batch_size: 4\n" in shown
    assert read_kept(environment.repository, model_name).changes == ()

    status, shown, told = run("set", *options, "--unset", "--warm-up", "--reason", "a test", "--release")

    assert status == 0, told
    assert "settings preferred_batch_sizes = [4, 8], instances = 2\n" in shown
    assert "version 1 is live with them as Triton version 2, proven on 2 replicas" in shown
    status, shown, _ = run("show", model_name)
    assert status == 0 and re.search(r"instances +2\n", shown) and re.search(r"config.pbtxt +generated\n", shown)
    assert " on " in shown and "because: a test" in shown and "preferred_batch_size: 4\n" in shown


def test_what_was_changed_by_hand_is_shown_as_that(
    environment: Environment, model_name: str, run: Callable[..., Ran]
) -> None:
    given(environment, model_name).released()
    config = environment.repository.read_config(model_name) or ""
    commit_by_hand(environment.repository, model_name, config.replace("count: 1", "count: 2"))

    found = json.loads(run("show", model_name, "--json")[1])

    assert found["origin"] == "changed by hand since its release"
    assert "-  count: 1\n+  count: 2\n" in found["changed_by_hand"]


@pytest.mark.parametrize(
    ("options", "status", "told"),
    [
        (("--instances", "0"), 2, "--instances: Input should be greater than or equal to 1, observed '0'"),
        (("--gpus", "0"), 1, "instance_kind is None, expected gpu; set instance_kind to gpu, or unset gpus"),
        (("--unset", "instance"), 1, "'instance' is none, expected instances; correct the name"),
        (("--from", "nowhere.toml"), 1, "--from nowhere.toml: no settings can be read"),
        (("--release",), 1, "nothing is live, expected a version to release"),
    ],
)
def test_what_cannot_be_set_is_one_line_and_a_status(
    environment: Environment, model_name: str, run: Callable[..., Ran], options: tuple[str, ...], status: int, told: str
) -> None:
    given(environment, model_name).registered()

    observed, _, errors = run("set", model_name, *options)

    assert (observed, told in errors) == (status, True), errors
    assert read_kept(environment.repository, model_name).changes == ()
