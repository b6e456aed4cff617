"""slipway at the prompt: one look says what serves and why, wrong input is one line and a status."""

import json
import re
from collections.abc import Callable
from io import StringIO
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from rich.console import Console

from blocks.environment import Environment
from infra.command.main import run as run_command
from infra.command.models import make_model_table
from slipway.releases.survey import ModelState
from tests.apparatus.given import given, new_name
from tests.apparatus.models import FEATURES, random_weights

Ran = tuple[int, str, str]


@pytest.fixture
def model_name(environment: Environment) -> str:
    """A model of this test's own, version 2 live and version 1 previous."""
    return given(environment, new_name()).released(2).model_name


@pytest.fixture
def run(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> Callable[..., Ran]:
    """Run a command as one whose output is a file's, tests in several processes or not; status, output and errors."""
    monkeypatch.delenv("COLUMNS", raising=False)

    def at_the_prompt(*arguments: str) -> Ran:
        capsys.readouterr()
        return run_command(arguments), *capsys.readouterr()

    return at_the_prompt


def test_status_shows_a_model_with_aliases_versions_replicas_and_drift(
    environment: Environment, model_name: str, run: Callable[..., Ran]
) -> None:
    environment.fleet.unload_model(environment.fleet.list_addresses()[1], model_name)

    status, shown, told = run("status", model_name)

    assert status == 0, told
    [row] = [line.split() for line in shown.splitlines() if line.startswith(model_name)] or pytest.fail(shown)
    assert "live = 2" in shown and "replica serves other versions" in shown
    assert row.count("-") == 2, "no archive, and one replica serves nothing"


def test_explain_live_says_what_serves_since_when_and_what_a_rollback_would_do(
    model_name: str, run: Callable[..., Ran]
) -> None:
    status, shown, _ = run("explain-live", model_name)

    words = " ".join(shown.split())
    assert status == 0 and "MLflow version 2, Triton version 2" in words and "since 20" in words
    assert "rollback to version 1 (Triton 1), without a reload" in words and "SHA-256 of model.onnx" in words


def test_a_rollback_says_what_it_did(model_name: str, run: Callable[..., Ran]) -> None:
    status, shown, _ = run("rollback", model_name, "--reason", "too many cats")

    assert status == 0 and f"{model_name}: version 1 is live again, proven on 2 replicas in" in shown


def test_a_reason_that_looks_like_markup_is_shown_as_it_was_given(model_name: str, run: Callable[..., Ran]) -> None:
    reason = "[/b] can't serve [red]cats[/red] :cat:"
    run("rollback", model_name, "--reason", reason)

    status, shown, errors = run("explain-live", model_name)

    assert (status, errors) == (0, "") and reason in " ".join(shown.split())


def test_a_long_name_leaves_the_other_columns_whole() -> None:
    name, shown = "n" * 120, StringIO()
    state = ModelState(
        name=name,
        aliases={"live": 12, "previous": 11},
        policy=(11, 12),
        repository=(10, 11, 12),
        archive=(),
        served={"[::1]:8001": (11, 12), "127.0.0.1:8011": None},
        drift=(),
    )

    Console(file=shown, markup=False, width=120).print(make_model_table((state,)))

    first = shown.getvalue().splitlines()[1]
    assert all(value in first for value in ("live = 12", "11, 12", "10, 11, 12", "silent", "none"))
    assert shown.getvalue().count("n" * 10) and "…" not in shown.getvalue() and "[::1]:8001" in shown.getvalue()


@pytest.mark.parametrize(("odd", "said"), [((3,), "3 "), ((2,), "3: 15; 2: 1"), (None, "3: 15; silent: 1")])
def test_what_many_replicas_serve_is_one_column_that_counts_those_that_differ(
    odd: tuple[int, ...] | None, said: str
) -> None:
    served = {f"replica-{number}:8001": (3,) for number in range(15)} | {"odd:8001": odd}
    state = ModelState(name="m", aliases={}, policy=(3,), repository=(3,), archive=(), served=served, drift=())
    shown = StringIO()

    Console(file=shown, markup=False, width=120).print(make_model_table((state,)))

    header, row = shown.getvalue().splitlines()
    assert "on 16 replicas" in header and said in row


@pytest.mark.parametrize(
    ("arguments", "status", "message"),
    [
        (["explain-live", "no-such-model"], 1, "NotRegistered: model 'no-such-model'"),
        (["rollback", "no-such-model"], 1, "NotRegistered: model 'no-such-model'"),
        (["rollback", "../x"], 2, "model name '../x': expected 1 to 120 letters"),
        (["rollback", "m", "--to", "yesterday"], 2, "source 'yesterday': expected 'alias:NAME'"),
    ],
)
def test_bad_input_is_a_message_and_a_status(
    environment: Environment, run: Callable[..., Ran], arguments: list[str], status: int, message: str
) -> None:
    observed, _, errors = run(*arguments)

    assert (observed, message in errors) == (status, True)
    assert "Traceback" not in errors


def test_versions_served_side_by_side_are_compared_by_answers_and_latency(
    model_name: str, run: Callable[..., Ran], tmp_path: Path
) -> None:
    status, shown, told = run("compare", model_name, "--versions", "1,2")

    assert status == 0, told
    assert "samples that prove version 2" in shown and "difference from 1" in shown
    rows = [line.split() for line in shown.splitlines()[-2:]]
    assert [row[:2] for row in rows] == [["1", "1"], ["2", "2"]]
    assert rows[0][2:4] == ["0.0e+00", "100.0%"] and float(rows[1][2]) > 0.1, "other weights, other answers"

    inputs = np.random.default_rng(9).standard_normal((50, FEATURES)).astype(np.float32)
    samples: dict[str, Any] = {"input/input": inputs}
    np.savez(tmp_path / "mine.npz", **samples)
    status, shown, told = run(
        "compare", model_name, "--versions", "2,1", "--samples", str(tmp_path / "mine.npz"), "--json"
    )

    assert status == 0, told
    found = json.loads(shown)
    same = np.mean((inputs @ random_weights(1)).argmax(1) == (inputs @ random_weights(2)).argmax(1))
    assert (found["samples"], found["versions"][1]["same_class"]) == (50, pytest.approx(float(same)))
    assert all(0 < each["p50_ms"] <= each["p95_ms"] <= each["p99_ms"] for each in found["versions"])


def test_what_cannot_be_compared_says_what_can(model_name: str, run: Callable[..., Ran], tmp_path: Path) -> None:
    samples: dict[str, Any] = {"input/pixels": np.zeros((2, 7), np.float32)}
    np.savez(tmp_path / "other.npz", **samples)
    cases = [
        ("2,3,7", 1, "version 3, 7: not served, Triton .* serves \\[1, 2\\] of it"),
        ("2,2", 1, "versions \\[2\\] to compare, .* expected two different ones"),
        ("1,x", 2, "observed '1,x', expected numbers with commas between"),
    ]
    for versions, expected, message in cases:
        status, _, errors = run("compare", model_name, "--versions", versions)
        assert (status, bool(re.search(message, errors))) == (expected, True), errors

    status, _, errors = run("compare", model_name, "--versions", "1,2", "--samples", str(tmp_path / "other.npz"))
    assert (status, "expected input/input ['batch_size', 4]" in errors) == (1, True), errors
