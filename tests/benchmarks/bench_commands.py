"""How long a step takes that is run from a shell, beside importing the libraries that it cannot do without."""

import json
import statistics
import subprocess
import sys
import time
from pathlib import Path

import pytest
from rich.console import Console
from rich.table import Table

from blocks.environment import Environment
from infra.local.settings import ROOT
from tests.apparatus.given import given
from tests.benchmarks.pace import IMPORTS
from tests.benchmarks.size import Size

RUNS, LIMIT_S = 5, 4.0
MODEL_NAME = "bench-steps-onnx"
pytestmark = [
    pytest.mark.benchmark,
    pytest.mark.exhaustive,
]  # tests/infra/command/test_steps.py runs steps from a shell


@pytest.mark.timeout(600)
def test_a_step_from_a_shell_answers_in_4_seconds(environment: Environment, tmp_path: Path, size: Size) -> None:
    given(environment, MODEL_NAME).released()
    fetched = tmp_path / "fetched.json"
    steps = {
        "fetch-model": ["fetch-model", f"--model-name={MODEL_NAME}", "--source=alias:live"],
        "determine-version": ["determine-version", f"--fetched={fetched}"],
        "verify-deployment": ["verify-deployment", f"--fetched={fetched}", "--version=1"],
        "update-aliases": ["update-aliases", f"--model-name={MODEL_NAME}", "--registry-version=1", "--dry-run"],
    }
    commands = {
        "import of prefect, prefect_aws, mlflow": [sys.executable, "-c", IMPORTS],
        **{name: [sys.executable, "-m", "infra", "step", *step] for name, step in steps.items()},
        "status": [sys.executable, "-m", "infra", "status"],
    }
    fetched.write_text(_run(commands["fetch-model"]))
    asked = size.choose(tuple(commands), ("determine-version", "status"))
    assert json.loads(fetched.read_text())["registered"]["model_name"] == MODEL_NAME

    taken = {name: [_time(commands[name]) for _ in range(size.choose(RUNS, 1))] for name in asked}

    table = Table("command", "seconds, median", "most", title="From a shell")
    for name, seconds in taken.items():
        table.add_row(name, f"{statistics.median(seconds):.2f}", f"{max(seconds):.2f}")
    Console(width=100).print("\n", table)
    assert max(statistics.median(taken[name]) for name in steps.keys() & taken.keys()) <= size.within(LIMIT_S)


def _time(command: list[str]) -> float:
    start = time.perf_counter()
    _run(command)
    return time.perf_counter() - start


def _run(command: list[str]) -> str:
    return subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=True, timeout=120).stdout
