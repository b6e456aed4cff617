"""`slipway predict`, `generate-input` and the YOLO client of the examples, against a model that was released."""

import http.client
import json
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import onnx
import pytest

from blocks.environment import Environment
from blocks.errors import InvalidInput, ServiceUnavailable
from flows.deployment import deploy_model
from infra.command.main import run
from infra.local.settings import ROOT, LocalStack
from infra.prediction.endpoint import connect
from infra.prediction.predictor import read_classes
from slipway.releases.publication import Given, publish
from tests.apparatus.detectors import CELL, COLOURS, detector_model, draw_squares
from tests.apparatus.given import new_name, withdraw
from tests.apparatus.ports import free_port

SQUARES = (("red", (0, 0, 31, 31)), ("blue", (64, 32, 95, 63)))  # in a picture of 128 x 64: cells of 32 pixels


class Released(NamedTuple):
    """A detector that is served, and where."""

    name: str
    http: str
    grpc: str
    pictures: Path


@pytest.fixture(scope="module")
def detector(
    stack: LocalStack, environment: Environment, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Released]:
    place, name = tmp_path_factory.mktemp("detector"), new_name()
    onnx.save(detector_model(), str(place / "detector.onnx"))
    published = publish(place / "detector.onnx", name, Given(), registry=environment.registry)
    deploy_model(name, source=f"version:{published.version}")
    pictures = place / "pictures"
    pictures.mkdir()
    draw_squares(128, 64, *SQUARES).save(pictures / "two.png")
    draw_squares(64, 64).save(pictures / "none.png")
    address = stack.triton_addresses[0]
    yield Released(name, next(iter(stack.triton_urls.values())).removeprefix("http://"), f"grpc://{address}", pictures)
    withdraw(environment, name)


def predict(*arguments: object) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "infra", "predict", *map(str, arguments)]
    return subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=120)


@pytest.mark.parametrize("protocol", ["http", "grpc"])
def test_objects_are_found_named_placed_and_drawn(detector: Released, protocol: str, tmp_path: Path) -> None:
    names = tmp_path / "names.txt"
    names.write_text("\n".join(COLOURS))

    ended = predict(
        *(detector.name, detector.pictures / "two.png", "--url", getattr(detector, protocol), "--json"),
        *("--names", names, "--pictures", tmp_path, "--version", "1"),
    )

    assert ended.returncode == 0, ended.stderr
    shown = json.loads(ended.stdout)
    found = sorted((o["name"], o["box"]) for o in shown["found"])
    assert found == [("blue", [64.0, 32.0, 96.0, 64.0]), ("red", [0.0, 0.0, 32.0, 32.0])]
    assert (shown["version"], Path(shown["picture"]).is_file()) == ("1", True)


def test_a_folder_is_predicted_whole_and_what_is_no_picture_named(detector: Released, tmp_path: Path) -> None:
    for picture in detector.pictures.iterdir():
        (tmp_path / picture.name).write_bytes(picture.read_bytes())
    (tmp_path / "broken.jpg").write_text("no picture")

    ended = predict(detector.name, tmp_path, "--url", detector.http, "--pictures", tmp_path / "drawn")

    assert ended.returncode == 1
    assert "broken.jpg" in ended.stderr and "1 of 3 pictures" in ended.stderr
    assert ended.stdout.count("drawn in") == 2 and "nothing found" in ended.stdout


def test_the_request_that_is_written_is_one_curl_can_send(detector: Released, tmp_path: Path) -> None:
    assert run(["generate-input", detector.name, "--url", detector.http, "--to", str(tmp_path / "input.json")]) == 0

    connection = http.client.HTTPConnection(detector.http, timeout=20)
    content = (tmp_path / "input.json").read_bytes()
    connection.request("POST", f"/v2/models/{detector.name}/infer", content, {"Content-Type": "application/json"})
    answered: dict[str, Any] = json.loads(connection.getresponse().read())
    ended = predict(detector.name, tmp_path / "input.json", "--url", detector.grpc, "--json")

    assert answered["outputs"][0]["shape"] == [1, 7, 16]
    assert json.loads(ended.stdout)["found"][0]["data"] == pytest.approx(answered["outputs"][0]["data"], abs=1e-5)


def test_the_example_s_client_finds_the_same_in_the_reference_s_options(detector: Released, tmp_path: Path) -> None:
    command = [sys.executable, str(ROOT / "examples" / "triton_yolo_inference.py")]
    options = ["--triton-url", detector.http, "--model-name", detector.name]

    picture = str(detector.pictures / "two.png")
    ended = subprocess.run(
        [*command, *options, "--image-path", picture], cwd=tmp_path, capture_output=True, text=True, timeout=120
    )
    missing = subprocess.run(
        [*command, *options, "--image-path", "nothing.png"], cwd=tmp_path, capture_output=True, text=True, timeout=120
    )

    assert ended.returncode == 0 and "2 objects, drawn in two_detection.jpg" in ended.stdout, ended.stderr
    assert (tmp_path / "two_detection.jpg").is_file()
    assert missing.returncode == 1 and "nothing.png" in missing.stderr


@pytest.mark.parametrize("protocol", ["http", "grpc"])
def test_what_is_not_served_and_a_server_that_is_not_there_are_told_apart(detector: Released, protocol: str) -> None:
    with pytest.raises(InvalidInput, match=r"unknown model.*slipway status"):
        connect(getattr(detector, protocol)).describe("nobody")
    with pytest.raises(InvalidInput, match=r"version 77|unknown model"):
        connect(getattr(detector, protocol)).describe(detector.name, "77")
    with pytest.raises(ServiceUnavailable, match="no answer"):
        connect(f"{protocol}://127.0.0.1:{free_port()}", timeout_s=2).describe(detector.name)


@pytest.mark.parametrize("url", ["", "ftp://host:1", "http://", "user@host:8000", "host:port"])
def test_what_is_no_address_is_refused(url: str) -> None:
    with pytest.raises(InvalidInput, match="expected"):
        connect(url)


def test_classes_are_read_with_their_labels_or_the_names_given() -> None:
    answered = np.array([b"0.9:3:cat:of:prey", b"0.1:0"], object)

    assert [found["name"] for found in read_classes(answered)] == ["cat:of:prey", "0"]
    assert [found["name"] for found in read_classes(answered, ["a", "b", "c", "d"])] == ["d", "a"]


def test_the_client_needs_no_more_than_numpy_pillow_and_tritonclient() -> None:
    code = "import sys, infra.prediction.predictor; print(*{name.partition('.')[0] for name in sys.modules})"
    imported = set(subprocess.check_output([sys.executable, "-c", code], cwd=ROOT, text=True).split())

    assert not imported & {"prefect", "mlflow", "pydantic", "httpx", "onnx", "boto3", "rich", "cyclopts"}
    assert CELL == 16
