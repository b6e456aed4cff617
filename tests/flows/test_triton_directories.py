"""What was trained elsewhere is published, released and proven: ONNX files, and model directories of any backend."""

from pathlib import Path

import numpy as np
import pytest

from blocks.environment import Environment
from flows.deployment import Deployment, deploy_model
from flows.publication import publish_model
from infra.command.main import run as run_command
from tests.apparatus.models import FEATURES, random_weights
from tests.apparatus.triton_directories import linear_bytes, write_onnx_model, write_python_model

INPUTS = np.arange(8, dtype=np.float32).reshape(2, FEATURES)


def answers(environment: Environment, model_name: str) -> list[np.ndarray]:
    """Return every replica's answer to an unversioned request."""
    ask = environment.fleet.infer
    return [
        ask(a, model_name, {"input": INPUTS}, ["output"], None)["output"] for a in environment.fleet.list_addresses()
    ]


def test_a_bare_onnx_file_is_published_by_the_command_and_released(
    environment: Environment, model_name: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "classifier.onnx").write_bytes(linear_bytes())

    code = run_command(["publish", str(tmp_path / "classifier.onnx"), "--name", model_name, "--deploy"])
    release = deploy_model(model_name)

    assert (code, isinstance(release, Deployment)) == (0, True)
    assert f"{model_name}: version 1 is registered, 1 files for backend onnxruntime" in capsys.readouterr().out
    for answer in answers(environment, model_name):
        np.testing.assert_allclose(answer, INPUTS @ random_weights(1), rtol=1e-5)


def test_a_model_of_the_python_backend_is_published_and_released(
    environment: Environment, model_name: str, tmp_path: Path
) -> None:
    directory = write_python_model(tmp_path / "doubling")
    (directory / "labels.txt").write_text("one\ntwo\nthree\nfour\n")

    publication = publish_model(directory, model_name, deploy=True)
    release = deploy_model(model_name)

    assert (publication.backend, isinstance(release, Deployment)) == ("python", True)
    for answer in answers(environment, model_name):
        np.testing.assert_array_equal(answer, INPUTS * 2)


def test_an_onnx_directory_without_a_config_gets_one(environment: Environment, model_name: str, tmp_path: Path) -> None:
    publication = publish_model(write_onnx_model(tmp_path / "linear"), model_name, deploy=True)
    release = deploy_model(model_name)

    assert (publication.format, isinstance(release, Deployment)) == ("triton", True)
    for answer in answers(environment, model_name):
        np.testing.assert_allclose(answer, INPUTS @ random_weights(1), rtol=1e-5)
