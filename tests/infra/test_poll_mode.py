"""Poll mode, `make up TRITON_MODE=poll`: what lies in a directory is served, under the name its folder has."""

import time
from collections.abc import Callable
from pathlib import Path

import httpx
import numpy as np
import pytest

from infra.errors import StackError
from infra.local import stack as local
from infra.local import supervision
from infra.local.environments import make_program_environments, make_supervisor_environment
from infra.local.settings import LocalStack
from tests.apparatus.models import linear_model, random_weights
from tests.apparatus.plain_triton import plain_triton

_CONFIG = """
backend: "onnxruntime"
input [ { name: "input" data_type: TYPE_FP32 dims: [ 1, 4 ] } ]
output [ { name: "output" data_type: TYPE_FP32 dims: [ 1, 3 ] } ]
"""
_PATIENCE_S = 60.0


def test_the_tritons_read_the_bucket_unless_they_poll_a_directory(tmp_path: Path) -> None:
    explicit = LocalStack(state=tmp_path)
    polling = LocalStack(state=tmp_path, triton_mode="poll")
    elsewhere = LocalStack(state=tmp_path, triton_mode="poll", triton_models=Path("models"))

    places = [make_supervisor_environment(stack, None)["SLIPWAY_TRITON_REPOSITORY"] for stack in (explicit, polling)]

    assert places == [f"s3://{explicit.s3_url}/triton-models/repository", str(tmp_path / "models")]
    assert elsewhere.triton_repository == str(Path("models").absolute())


def test_a_model_that_pulls_from_mlflow_is_told_where_it_is_where_tritons_poll(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("MLFLOW_MODEL_NAME", "yolo11n-onnx")
    monkeypatch.delenv("SLIPWAY_TRITON_REPLICAS", raising=False)  # another test's stack: it would have none of its own

    explicit, polling = (
        make_program_environments(LocalStack(state=tmp_path, triton_mode=mode))["triton-0"]
        for mode in ("explicit", "poll")
    )

    assert polling["MLFLOW_MODEL_NAME"] == "yolo11n-onnx" and "MLFLOW_TRACKING_URI" in polling
    assert not any(name.startswith("MLFLOW_") for name in explicit)


def test_a_stack_that_runs_in_one_mode_is_not_brought_up_in_the_other(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(supervision, "is_up", lambda stack: True)
    (tmp_path / "running.json").write_text(LocalStack(state=tmp_path).model_dump_json())
    monkeypatch.setenv("SLIPWAY_TRITON_MODE", "poll")

    with pytest.raises(StackError, match="run in mode explicit, not poll; make down first"):
        local.up(LocalStack(state=tmp_path), lambda line: None)


def test_a_renamed_folder_is_served_under_its_new_name_and_no_longer_under_its_old_one(
    tmp_path: Path, measured: Callable[[str], None]
) -> None:
    folder, renamed = tmp_path / "models" / "onnx-model", tmp_path / "models" / "python-model"
    (folder / "1").mkdir(parents=True)
    (folder / "1" / "model.onnx").write_bytes(linear_model(random_weights(1)).SerializeToString())
    (folder / "config.pbtxt").write_text(_CONFIG)

    with plain_triton(tmp_path / "triton", tmp_path / "models", mode="poll") as triton:

        def serves(name: str) -> bool:
            return httpx.get(f"http://{triton.http}/v2/models/{name}/ready", timeout=10).is_success

        await_all(lambda: serves("onnx-model"))
        folder.rename(renamed)
        begun = time.monotonic()
        await_all(lambda: serves("python-model"), lambda: not serves("onnx-model"))
        measured(f"poll mode: a renamed folder is served after {time.monotonic() - begun:.1f} s")


def test_a_link_that_is_moved_to_other_folders_is_followed_and_no_request_fails(
    tmp_path: Path, measured: Callable[[str], None]
) -> None:
    link = tmp_path / "current"  # as git-sync moves it from one commit's folder to the next one's
    for commit, weights in (("first", 1), ("second", 2)):
        version = tmp_path / commit / "served" / "linear" / "1"
        version.mkdir(parents=True)
        (version / "model.onnx").write_bytes(linear_model(random_weights(weights)).SerializeToString())
        (version.parent / "config.pbtxt").write_text(_CONFIG)
    link.symlink_to("first")

    with plain_triton(tmp_path / "triton", link / "served", mode="poll") as triton:

        def answer() -> list[float]:
            asked = {"name": "input", "shape": [1, 4], "datatype": "FP32", "data": [1, 2, 3, 4]}
            url = f"http://{triton.http}/v2/models/linear/infer"
            (output,) = httpx.post(url, json={"inputs": [asked]}, timeout=10).raise_for_status().json()["outputs"]
            return [round(value, 3) for value in output["data"]]

        await_all(lambda: httpx.get(f"http://{triton.http}/v2/models/linear/ready", timeout=10).is_success)
        before = answer()
        (tmp_path / "next").symlink_to("second")
        (tmp_path / "next").rename(link)
        begun = time.monotonic()
        await_all(lambda: answer() != before)
        measured(f"poll mode: a link that was moved is followed after {time.monotonic() - begun:.1f} s")
        after = answer()

    expected = [np.asarray([1, 2, 3, 4]) @ random_weights(seed) for seed in (1, 2)]
    assert [before, after] == [pytest.approx(list(row), abs=0.01) for row in expected]


def await_all(*conditions: Callable[[], bool]) -> None:
    """Wait until all hold at once."""
    end = time.monotonic() + _PATIENCE_S
    while not all(condition() for condition in conditions):
        assert time.monotonic() < end
        time.sleep(0.1)
