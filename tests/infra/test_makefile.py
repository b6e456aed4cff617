"""What is given to make reaches a program word for word, and nothing in it is run on the way."""

import os
import subprocess
from pathlib import Path

import pytest

from infra.local.settings import ROOT

_STUB = """#!/bin/bash
[ "$1" != run ] || printf '%s\\0' "${@:3}" > "$SEEN"
"""


def arguments(tmp_path: Path, target: str, **given: str) -> list[str]:
    """Return what the program of a target would be called with; `uv`, which would run it, only writes that down."""
    stub, seen = tmp_path / "bin" / "uv", tmp_path / "seen"
    stub.parent.mkdir(exist_ok=True)
    stub.write_text(_STUB)
    stub.chmod(0o755)
    # nothing of a make that runs these tests
    environment = {"PATH": f"{stub.parent}:{os.environ['PATH']}", "HOME": os.environ["HOME"], "SEEN": str(seen)}
    assignments = [f"{name}={value}" for name, value in given.items()]
    subprocess.run(["make", "-C", str(ROOT), target, *assignments], env=environment, check=True)
    return seen.read_text().split("\0")[:-1]


@pytest.mark.parametrize(
    "reason",
    [
        "can't serve",
        'says "cat"',
        "`touch {path}`",
        "$(touch {path})",
        "$(shell touch {path})",
        "$$HOME and $HOME cost $5",
        "two\nlines",
        "a; touch {path}",
        "back\\slash [/b] #5",
        "--to=version:1",
    ],
)
def test_a_reason_is_one_word_whatever_is_in_it(tmp_path: Path, reason: str) -> None:
    reason = reason.replace("{path}", str(tmp_path / "run"))

    found = arguments(tmp_path, "rollback", MODEL="my model", TO="version:3", REASON=reason)

    assert found == ["slipway", "rollback", "my model", "--to=version:3", f"--reason={reason}"]
    assert not (tmp_path / "run").exists()


def test_what_is_not_given_is_not_there(tmp_path: Path) -> None:
    assert arguments(tmp_path, "rollback", MODEL="m") == ["slipway", "rollback", "m"]
    assert arguments(tmp_path, "reconcile") == ["slipway", "reconcile"]


def test_arguments_are_words_with_quotes_honoured_and_nothing_run(tmp_path: Path) -> None:
    marker = tmp_path / "run"
    given = f"""--dry-run -k 'a or b' "c d" `touch {marker}` $(shell touch {marker}) *"""

    found = arguments(tmp_path, "reconcile", ARGS=given)

    assert found[2:6] == ["--dry-run", "-k", "a or b", "c d"]
    assert found[-1] == "*" and not marker.exists()


def test_an_open_quote_ends_the_target_and_runs_nothing_else(tmp_path: Path) -> None:
    with pytest.raises(subprocess.CalledProcessError):
        arguments(tmp_path, "reconcile", ARGS="--dry-run 'x")

    assert not (tmp_path / "seen").exists()


@pytest.mark.parametrize(
    ("target", "given", "expected"),
    [
        ("explain-live", {"MODEL": "`m`"}, ["explain-live", "`m`"]),
        ("smoke-test", {"MODEL": "m", "ADDRESSES": "a:1 b:2"}, ["cluster", "smoke-test", "m", "a:1", "b:2"]),
        (
            "smoke-test",
            {"MODEL": "m", "ADDRESSES": "http://a:1", "INPUT": "a b.json", "GPU": "yes", "HTTP": "yes"},
            ["cluster", "smoke-test", "m", "--input=a b.json", "--gpu", "--http", "http://a:1"],
        ),
        ("smoke-test", {"MODEL": "m", "SHAPE": "`1`", "GPU": "no"}, ["cluster", "smoke-test", "m", "--shape=`1`"]),
        ("loadtest", {"MODEL": "m", "URL": "$u", "ARGS": "--users 5"}, ["loadtest", "m", "--url=$u", "--users", "5"]),
        ("build", {"IMAGES": "a b", "TAG": "1"}, ["images", "build", "a", "b", "--tag=1"]),
        ("tag", {"IMAGES": "a", "TAG": "1"}, ["images", "tag", "a", "--tag=1"]),
        ("tag-triton", {"TAG": "1"}, ["images", "tag", "triton", "--tag=1"]),
        ("push-triton", {"TAG": "1"}, ["images", "push", "triton", "--tag=1"]),
        ("images", {"IMAGES": "a b", "TAG": "$(x)"}, ["images", "build", "a", "b", "--tag=$(x)"]),
        ("logs", {"SERVER": "a b"}, ["stack", "logs", "a b"]),
    ],
)
def test_every_target_passes_on_what_it_was_given(
    tmp_path: Path, target: str, given: dict[str, str], expected: list[str]
) -> None:
    assert arguments(tmp_path, target, **given)[1:] == expected
