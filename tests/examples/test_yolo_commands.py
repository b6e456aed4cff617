"""The command lines that the fifth reference documents for a model that Triton pulls from MLflow (`seeds/5`).

In the document's order, on a folder that a Triton polls; instead of YOLO it is a detector of our own, instead of the
variable that a running server would have to be given anew, the parameter of the same name in config.pbtxt.
"""

import shutil
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import httpx
import numpy as np
import onnx
import pytest

from infra.local.settings import ROOT, LocalStack
from tests.apparatus.detectors import SIDE, detector_model, draw_squares
from tests.apparatus.given import new_name
from tests.apparatus.plain_triton import plain_triton

Run = Callable[[str], str]
_PATIENCE_S = 90.0


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Where the document's reader is: model_repository/, examples/ with a picture, a network that was exported."""
    shutil.copytree(ROOT / "examples" / "model_repository", tmp_path / "model_repository")
    config = tmp_path / "model_repository" / "onnx-model" / "config.pbtxt"
    text = config.read_text().replace("[ 3, 640, 640 ]", f"[ 3, {SIDE}, {SIDE} ]").replace("[ -1, 6 ]", "[ 7, 16 ]")
    config.write_text(text)
    (tmp_path / "examples").mkdir()
    for script in (ROOT / "examples").glob("*.py"):
        (tmp_path / "examples" / script.name).write_text(script.read_text())
    draw_squares(SIDE, SIDE, ("red", (0, 0, 15, 15))).save(tmp_path / "examples" / "dog.jpg", quality=100)
    (tmp_path / "colours.txt").write_text("red\ngreen\nblue")
    onnx.save(detector_model(), str(tmp_path / "yolo11n.onnx"))
    return tmp_path


@pytest.fixture
def run(folder: Path, monkeypatch: pytest.MonkeyPatch) -> Run:
    """Run a line of the document in that folder, by this Python; returns what it printed."""
    monkeypatch.setenv("PYTHONPATH", str(ROOT))

    def call(line: str) -> str:
        line = line.replace("python ", f"{sys.executable} ", 1)
        ended = subprocess.run(line, shell=True, cwd=folder, capture_output=True, text=True, timeout=120, check=False)
        assert ended.returncode == 0, (line, ended.stdout, ended.stderr)
        return ended.stdout

    return call


def test_a_detector_is_registered_pulled_asked_renamed_and_changed(
    stack: LocalStack, folder: Path, run: Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    first, second = f"{new_name()}-yolo11n", f"{new_name()}-mymodel"
    monkeypatch.setenv("MLFLOW_TRACKING_URI", stack.mlflow_url)
    monkeypatch.setenv("MLFLOW_MODEL_NAME", first)
    monkeypatch.setenv("MLFLOW_MODEL_CACHE", str(folder / "cache"))

    registered = run(f"python examples/register_model_to_mlflow.py --model-path yolo11n.onnx --model-name {first}")
    assert registered.endswith(f"models:/{first}/1\n")

    with plain_triton(folder / "triton", folder / "model_repository", mode="poll") as triton:

        def find(model_name: str) -> str:
            await_served(triton.http, model_name)
            command = f"python examples/triton_yolo_inference.py --triton-url {triton.http} --model-name {model_name}"
            return run(f"{command} --image-path examples/dog.jpg --class-names colours.txt")

        assert "red" in find("onnx-model")
        assert (folder / "dog_detection.jpg").is_file()

        run("mv model_repository/onnx-model model_repository/python-model")
        assert "red" in find("python-model")
        await_served(triton.http, "onnx-model", served=False)
        run("mv model_repository/python-model model_repository/onnx-model")

        save_turned(folder / "yolo11n.onnx")
        run(f"python examples/register_model_to_mlflow.py --model-path yolo11n.onnx --model-name {second}")
        config = folder / "model_repository" / "onnx-model" / "config.pbtxt"
        named = f'parameters: {{ key: "mlflow_model_name" value: {{ string_value: "{second}" }} }}\n'
        config.write_text(config.read_text() + named)
        end = time.monotonic() + _PATIENCE_S
        while "blue" not in find("onnx-model"):
            assert time.monotonic() < end


def test_the_exporter_says_what_is_missing_where_it_is_missing(folder: Path) -> None:
    blocked = "import sys; sys.modules['ultralytics'] = None; import runpy; sys.argv = sys.argv[1:]"
    program = f"{blocked}; runpy.run_path('examples/export_yolo.py', run_name='__main__')"
    line = ["export_yolo.py", "--model-path", "yolo11n.pt", "--format", "onnx"]

    ended = subprocess.run(
        [sys.executable, "-c", program, *line], cwd=folder, capture_output=True, text=True, timeout=60, check=False
    )

    assert (ended.returncode, "pip install ultralytics" in ended.stderr) == (1, True), ended.stderr


def save_turned(path: Path) -> None:
    """Write a detector that takes red for blue."""
    model = detector_model()
    mix = next(each for each in model.graph.initializer if each.name == "mix")
    turned = np.frombuffer(mix.raw_data, np.float32).reshape(3, 3, 1, 1)[::-1]
    mix.raw_data = np.ascontiguousarray(turned).tobytes()
    onnx.save(model, str(path))


def await_served(address: str, model_name: str, served: bool = True) -> None:
    """Wait until a server that polls serves a model, or serves it no longer."""
    end = time.monotonic() + _PATIENCE_S
    while httpx.get(f"http://{address}/v2/models/{model_name}/ready", timeout=10).is_success != served:
        assert time.monotonic() < end, f"{model_name} is {'not ' if served else ''}served"
        time.sleep(0.2)
