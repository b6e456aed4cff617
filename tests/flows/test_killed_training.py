"""A training that is killed goes on in the same flow run, and nothing of it is there twice."""

import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from uuid import UUID

import mlflow
import pytest
import torch
from prefect import flow
from prefect.client.orchestration import get_client
from prefect.states import Pending

from blocks.checkpoints import Checkpoints
from blocks.environment import RESULT_STORAGE, Environment, load_block
from blocks.labels import TRAINING_TAG
from blocks.registry import ModelRegistry
from flows.training import train_model
from slipway.learning import training
from slipway.learning.parameters import TrainingSettings
from slipway.learning.results import TrainedModel
from slipway.learning.resuming import EpochKeeper
from slipway.learning.weights import load_weights
from tasks.training.train import train
from tests.apparatus.networks import NormalisedNetwork
from tests.apparatus.trained_candidates import unused_name
from tests.apparatus.trainings import EPOCHS, METRICS, SETTINGS, failing_at, same, steps, the_run, trainings_of

ENTRYPOINT = f"{Path(__file__).parents[1] / 'apparatus' / 'slow_training.py'}:train_model"


@pytest.fixture(scope="module")
def registry(environment: Environment) -> ModelRegistry:
    return environment.registry


@pytest.fixture(scope="module")
def checkpoints(environment: Environment) -> Checkpoints:
    return load_block(Checkpoints)


@pytest.fixture(autouse=True)
def _small_network(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("slipway.learning.training.ResNet18", NormalisedNetwork)


def settings(model_name: str) -> TrainingSettings:
    return TrainingSettings.check(model_name=model_name, epochs=EPOCHS, **SETTINGS)


@flow(retries=1, result_storage=RESULT_STORAGE, result_serializer="json", persist_result=True)
def trained_twice(model_name: str, registry: ModelRegistry, checkpoints: Checkpoints) -> TrainedModel:
    """Train in a flow run that begins anew where the first attempt fails, as a killed one does."""
    return train(settings(model_name), registry=registry, checkpoints=checkpoints)


def attempt(flow_run_id: UUID) -> subprocess.Popen[bytes]:
    """Run a flow run as a pod does, in a process group of its own."""
    return subprocess.Popen(
        [sys.executable, "-m", "prefect.engine", str(flow_run_id)],
        env=os.environ | {"PREFECT__FLOW_ENTRYPOINT": ENTRYPOINT},
        start_new_session=True,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.STDOUT,
    )


def weights(model_name: str, registry: ModelRegistry) -> dict[str, torch.Tensor]:
    [version] = registry.connect().search_model_versions(f"name='{model_name}'")
    model, _ = load_weights(registry.get_version(model_name, int(version.version)), registry)
    return dict(model.state_dict())


def waited_for(condition: Callable[[], bool], deadline_s: float = 200) -> None:
    give_up = time.monotonic() + deadline_s
    while not condition():
        assert time.monotonic() < give_up, "it did not happen in time"
        time.sleep(0.05)


def recorded_epochs(model_name: str, registry: ModelRegistry) -> int:
    if registry.connect().get_experiment_by_name(model_name) is None:
        return 0
    runs = mlflow.search_runs(experiment_names=[model_name], output_format="list")
    return len(steps(runs[0], "val_loss", registry)) if runs else 0


def test_a_flow_run_killed_in_an_epoch_and_run_again_ends_as_if_nothing_had_happened(
    registry: ModelRegistry, checkpoints: Checkpoints
) -> None:
    name = unused_name()
    parameters = {"model_name": name, "epochs": EPOCHS, "deploy": False, "metric_threshold": 1.0, **SETTINGS}
    with get_client(sync_client=True) as client:
        flow_run_id = client.create_flow_run(train_model, parameters=parameters, state=Pending()).id

    killed = attempt(flow_run_id)
    waited_for(lambda: recorded_epochs(name, registry) >= 2)
    os.killpg(killed.pid, signal.SIGKILL)
    assert killed.wait() == -signal.SIGKILL
    kept = [checkpoints.find_latest(training) for training in trainings_of(flow_run_id, checkpoints)]
    assert attempt(flow_run_id).wait() == 0

    run, uninterrupted = the_run(name), training.train(settings(unused_name()), registry=registry)
    [checkpoint] = kept
    assert checkpoint is not None and checkpoint.run_id == run.info.run_id
    assert 2 <= checkpoint.epoch < EPOCHS
    assert all(steps(run, metric, registry) == [1, 2, 3, 4] for metric in METRICS)
    assert {"resumed_from_epoch": str(checkpoint.epoch), "resumptions": "1"}.items() <= run.data.tags.items()
    assert run.info.status == "FINISHED"
    assert run.inputs is not None and len(run.inputs.dataset_inputs) == 2
    assert same(weights(name, registry), weights(uninterrupted.model_name, registry)), "of the one version"
    assert trainings_of(flow_run_id, checkpoints) == []
    with get_client(sync_client=True) as client:
        assert client.read_flow_run(flow_run_id).state_name == "Rejected", "gate 1 was asked, nothing is exported"


def test_a_version_registered_before_the_task_died_is_found_again(
    registry: ModelRegistry, checkpoints: Checkpoints, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(EpochKeeper, "discard", failing_at(EpochKeeper.discard, RuntimeError("killed"), {0}))
    name = unused_name()

    trained = trained_twice(name, registry, checkpoints)

    run = the_run(name)
    found = registry.connect().search_model_versions(f"name='{name}'")
    assert [int(version.version) for version in found] == [trained.version] == [1]
    assert trained.run_id == run.info.run_id
    assert trained.best_val_accuracy == run.data.metrics["best_val_accuracy"]
    assert steps(run, "val_loss", registry) == [1, 2, 3, 4]
    assert trainings_of(run.data.tags[TRAINING_TAG].partition("/")[0], checkpoints) == []
