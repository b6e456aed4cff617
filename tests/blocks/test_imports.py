"""Large imports are made without the garbage collector, which is back afterwards."""

import gc
import os
import subprocess
import sys
from importlib import import_module
from pathlib import Path

import pytest

from blocks.imports import keep_what_is_made


def test_nothing_is_collected_inside_and_everything_afterwards() -> None:
    with keep_what_is_made():
        inside = gc.isenabled()

    assert (inside, gc.isenabled()) == (False, True)


def test_what_an_import_made_is_not_looked_at_again_and_what_else_was_made_is(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "some_module.py").write_text("made = [[] for _ in range(1000)]")
    monkeypatch.syspath_prepend(tmp_path)
    before = gc.get_freeze_count()
    with keep_what_is_made():
        made = [[number] for number in range(1000)]
    assert gc.get_freeze_count() <= before

    with keep_what_is_made():
        import_module("some_module")

    assert gc.get_freeze_count() >= before + 1000 and len(made) == 1000


def test_an_import_that_fails_leaves_the_collector_on() -> None:
    with pytest.raises(ImportError), keep_what_is_made():
        raise ImportError("a library is missing")

    assert gc.isenabled()


def test_who_had_switched_it_off_keeps_it_off() -> None:
    with keep_what_is_made():
        with keep_what_is_made():
            pass

        assert not gc.isenabled()


def test_no_thread_of_mlflow_changes_the_environment_of_a_flow(tmp_path: Path) -> None:
    of_mlflow = "import flows.deployment, mlflow.telemetry as it; print(it.get_telemetry_client())"

    assert said_outside_of_ci(tmp_path, of_mlflow) == "None"


def test_whoever_wants_mlflow_s_telemetry_has_it(tmp_path: Path) -> None:
    of_variable = "import blocks, os; print(os.environ['MLFLOW_DISABLE_TELEMETRY'])"

    assert said_outside_of_ci(tmp_path, of_variable, MLFLOW_DISABLE_TELEMETRY="false") == "false"


def said_outside_of_ci(home: Path, code: str, **chosen: str) -> str:
    """Return the last word that a process prints outside of CI, where telemetry is off anyway."""
    environment = {"PATH": os.environ["PATH"], "HOME": str(home)} | chosen
    command = [sys.executable, "-c", code]
    done = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=120, check=True)
    return done.stdout.split()[-1]
