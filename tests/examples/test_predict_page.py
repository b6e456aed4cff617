"""The commands of docs/predict.md, word for word, against a model that is served; only names and places are others."""

import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import onnx
import pytest

from blocks.environment import Environment
from flows.deployment import deploy_model
from infra.local.settings import ROOT, LocalStack
from slipway.releases.publication import Given, publish
from tests.apparatus.detectors import COLOURS, detector_model, draw_squares
from tests.apparatus.given import new_name, withdraw

PAGE = (ROOT / "docs" / "predict.md").read_text()
COMMANDS = [
    line
    for block in re.findall(r"```bash\n(.*?)```", PAGE, re.DOTALL)
    for line in block.splitlines()
    if line.startswith(("slipway ", "curl "))
]


@pytest.fixture(scope="module")
def folder(stack: LocalStack, environment: Environment, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """Where a reader would be: the pictures and names of the page, and a model `detector` that is served."""
    place, name = tmp_path_factory.mktemp("page"), new_name()
    onnx.save(detector_model(), str(place / "detector.onnx"))
    published = publish(place / "detector.onnx", name, Given(), registry=environment.registry)
    deploy_model(name, source=f"version:{published.version}")
    (place / "pictures").mkdir()
    for picture in (place / "picture.png", place / "pictures" / "one.png"):
        draw_squares(64, 64, ("red", (0, 0, 15, 15))).save(picture)
    (place / "classes.txt").write_text("\n".join(COLOURS))
    (place / "name").write_text(name)
    yield place
    withdraw(environment, name)


def adapt(text: str, folder: Path, stack: LocalStack) -> str:
    """Return a command or program of the page with our model's name and our servers' addresses."""
    http = next(iter(stack.triton_urls.values())).removeprefix("http://")
    text = text.replace("localhost:8000", http).replace("localhost:8001", stack.triton_addresses[0])
    return re.sub(r"\bdetector\b", (folder / "name").read_text(), text)


@pytest.mark.parametrize("number", range(len(COMMANDS)))
def test_a_command_of_the_page_does_what_it_says(number: int, folder: Path, stack: LocalStack) -> None:
    program = f"{Path(sys.executable).parent / 'slipway'} "
    command = adapt(COMMANDS[number], folder, stack).replace("slipway ", program, 1)

    ended = subprocess.run(command, shell=True, cwd=folder, capture_output=True, text=True, timeout=120)

    assert ended.returncode == 0, ended.stderr
    expected = "input.json: a request" if "generate-input" in command else "red" if "classes.txt" in command else ""
    expected = ", 0 failed" if "loadtest" in command else expected
    assert expected in ended.stdout and ended.stdout


def test_the_program_of_the_page_gets_an_answer(folder: Path, stack: LocalStack) -> None:
    [program] = re.findall(r"```python\n(.*?)```", PAGE, re.DOTALL)

    code = adapt(program, folder, stack)
    ended = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=120)

    assert ended.stdout == "(1, 7, 16)\n", ended.stderr
