"""The train-yolo flow on the real servers: a real network learns drawn rectangles for an epoch, where it can."""

from importlib.util import find_spec
from pathlib import Path
from typing import Any

import pytest
from prefect.client.schemas.objects import State

from blocks.environment import Environment
from blocks.errors import InvalidInput
from flows.deployment import deploy_model
from flows.yolo_training import DetectorTraining, train_yolo
from tests.apparatus.runs import tasks_of
from tests.apparatus.trained_candidates import registered_names, unused_name
from tests.apparatus.yolo_datasets import draw_dataset

pytestmark = pytest.mark.skipif(
    find_spec("ultralytics") is None, reason="ultralytics (AGPL-3.0) is not installed: uv pip install ultralytics"
)
STEPS = ["check-dataset", "split-dataset", "train-detector", "export-detector", "judge-detector", "register-detector"]


@pytest.fixture(autouse=True)
def _settings_of_its_own(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Have ultralytics write the settings of a first import elsewhere than at home."""
    monkeypatch.setenv("YOLO_CONFIG_DIR", str(tmp_path))


def run(dataset: Path, model_name: str, **changed: Any) -> State[Any]:
    quick = {"epochs": 1, "image_size": 64, "batch_size": 4, "num_workers": 0, "min_map": 0.0}
    generous = {"max_milliseconds": 60_000.0, "max_slowdown": 10.0}  # times on a busy machine are not the subject
    parameters = quick | generous | changed
    state: State[Any] = train_yolo(dataset_path=dataset, model_name=model_name, return_state=True, **parameters)  # type: ignore[assignment]
    return state


def test_a_detector_is_trained_judged_registered_and_released_and_one_that_is_no_better_is_not(
    environment: Environment, tmp_path: Path
) -> None:
    registry, name = environment.registry, unused_name()
    dataset = draw_dataset(tmp_path / "shapes")
    files = sorted(tmp_path.joinpath("shapes").rglob("*"))

    first = run(dataset, name)
    result = first.result()
    again = run(dataset, name)
    deploy_model(model_name=f"{name}-onnx", source="alias:deploy")

    assert isinstance(result, DetectorTraining)
    assert [task.name for task in tasks_of(first.state_details.flow_run_id, "register-detector")] == STEPS
    assert (again.type.value, again.name) == ("COMPLETED", "Rejected")
    assert "of champion version 1 + 0.005) is not met" in str(again.message)
    assert registry.get_aliases(f"{name}-onnx") == {"champion": 1, "deploy": 1, "live": 1}
    assert registered_names(registry, name) == {f"{name}-onnx"}
    tracked = registry.connect().get_run(result.trained.run_id).data
    assert tracked.params["data.training_images"] == "9" and tracked.params["training.epochs"] == "1"
    assert tracked.metrics["test_map50_95"] == result.verdict.candidate.map50_95
    assert tracked.metrics.keys() >= {"train/box_loss", "val/cls_loss", "metrics/mAP50-95B", "best_mAP50-95B"}
    assert sorted(tmp_path.joinpath("shapes").rglob("*")) == files


def test_a_dataset_that_is_wrong_fails_the_run_before_anything_is_trained(
    environment: Environment, tmp_path: Path
) -> None:
    name, dataset = unused_name(), draw_dataset(tmp_path / "shapes")
    (dataset / "labels/day/003.txt").write_text("7 .5 .5 .1 .1\n")

    state = run(dataset, name)

    assert state.type.value == "FAILED"
    with pytest.raises(InvalidInput, match="1 wrong label lines"):
        state.result()
    assert registered_names(environment.registry, name) == set()
