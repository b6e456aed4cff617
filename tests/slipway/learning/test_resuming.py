"""What a training keeps of each epoch, and what it makes of that when it goes on."""

import os
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any
from unittest import mock
from uuid import uuid4

import pytest
import torch

from blocks.checkpoints import Checkpoints
from blocks.environment import Environment, load_block
from blocks.errors import ServiceUnavailable, UnusableModel
from blocks.labels import TRAINING_TAG
from blocks.registry import ModelRegistry
from slipway.learning.datasets import ImageSplit
from slipway.learning.fitting import Fitting
from slipway.learning.history import sum_up_epoch
from slipway.learning.parameters import TrainingSettings
from slipway.learning.planning import Plan
from slipway.learning.recipes import Recipe
from slipway.learning.reproducing import seeded
from slipway.learning.resuming import EpochKeeper, keeping_epochs, name_training
from slipway.learning.tracking import TrackedRun, tracked_run
from slipway.learning.training import train
from tests.apparatus.networks import NormalisedNetwork
from tests.apparatus.trained_candidates import digits, unused_name
from tests.apparatus.trainings import EPOCHS, METRICS, SETTINGS, failing_at, same, steps, the_run, trainings_of


@pytest.fixture(scope="module")
def registry(environment: Environment) -> ModelRegistry:
    return environment.registry


@pytest.fixture(scope="module")
def checkpoints(environment: Environment) -> Checkpoints:
    return load_block(Checkpoints)


@pytest.fixture(autouse=True)
def _small_network(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("slipway.learning.training.ResNet18", NormalisedNetwork)


def begun(epochs: int = EPOCHS) -> Fitting:
    torch.manual_seed(3)
    return Fitting(NormalisedNetwork(10), digits(), Plan(Recipe(epochs=epochs, learning_rate=0.01)))


@contextmanager
def keeping(training: str, registry: ModelRegistry, checkpoints: Checkpoints) -> Iterator[EpochKeeper]:
    name = training.replace("/", "-")
    with (
        tracked_run(registry, name, "train-x", {"architecture": "resnet18"}, training) as run,
        seeded(3),
        keeping_epochs(run, training, checkpoints) as keeper,
    ):
        yield keeper


def train_until(epoch: int, training: str, registry: ModelRegistry, checkpoints: Checkpoints) -> Fitting:
    """Train up to an epoch, each with its checkpoint, and stop there."""
    with keeping(training, registry, checkpoints) as keeper:
        fitting = keeper.resume(begun)
        for figures in fitting.train_epochs():
            keeper.keep(fitting)
            keeper.finish()
            if figures.epoch == epoch:
                break
    return fitting


def test_a_training_goes_on_after_its_checkpoint_but_another_one_does_not(
    registry: ModelRegistry, checkpoints: Checkpoints
) -> None:
    training, other = f"{uuid4()}/a", f"{uuid4()}/b"
    train_until(2, training, registry, checkpoints)

    with keeping(training, registry, checkpoints) as keeper:
        assert keeper.resume(begun).epoch == 2
    with keeping(other, registry, checkpoints) as keeper:
        assert keeper.resume(begun).epoch == 0


@pytest.mark.parametrize("changed", [{"learning_rate": 0.02}, {"seed": 4}, {"epochs": 5}])
def test_with_other_settings_or_images_it_is_another_training(changed: dict[str, Any]) -> None:
    settings = TrainingSettings.check(model_name="m", epochs=EPOCHS, **SETTINGS)
    fewer = replace(digits(), train=ImageSplit(digits().train.images[1:], digits().train.labels[1:]))

    with mock.patch.dict(os.environ, {"PREFECT__FLOW_RUN_ID": str(uuid4())}):
        name, again = name_training(settings, digits()), name_training(settings, digits())
        others = [name_training(settings.model_copy(update=changed), digits()), name_training(settings, fewer)]

    assert name is not None
    assert name == again
    assert name not in others


def test_outside_of_a_flow_run_nothing_is_kept(registry: ModelRegistry, checkpoints: Checkpoints) -> None:
    before = checkpoints.store.list_keys(checkpoints.prefix)

    trained = train(
        TrainingSettings.check(model_name=unused_name(), epochs=1, **SETTINGS),
        registry=registry,
        checkpoints=checkpoints,
    )

    assert TRAINING_TAG not in the_run(trained.model_name).data.tags
    assert checkpoints.store.list_keys(checkpoints.prefix) == before


def test_a_checkpoint_that_is_another_trainings_is_told_of_before_the_training_begins_anew(
    registry: ModelRegistry, checkpoints: Checkpoints, monkeypatch: pytest.MonkeyPatch
) -> None:
    flow_run, told = str(uuid4()), list[str]()
    train_until(1, f"{flow_run}/earlier", registry, checkpoints)
    monkeypatch.setattr("slipway.learning.resuming.warn", told.append)

    with keeping(f"{flow_run}/now", registry, checkpoints) as keeper:
        assert keeper.resume(begun).epoch == 0

    [warning] = told
    assert "begins anew" in warning and f"keeps checkpoints of {flow_run}/earlier" in warning


@pytest.mark.parametrize("damage", ["changed", "gone", "foreign", "pointer"])
def test_a_checkpoint_that_cannot_be_used_costs_its_epochs_and_not_the_training(
    registry: ModelRegistry, checkpoints: Checkpoints, damage: str
) -> None:
    training, store = f"{uuid4()}/{damage}", checkpoints.store
    train_until(2, training, registry, checkpoints)
    kept = checkpoints.find_latest(training)
    assert kept is not None
    match damage:
        case "changed":
            store.write(kept.key, (store.read(kept.key) or b"")[:-1] + b"?")
        case "gone":
            store.delete(kept.key)
        case "foreign":
            train_until(1, f"{training}-other", registry, checkpoints)
            store.copy(f"checkpoints/{training}-other/latest.json", f"checkpoints/{training}/latest.json")
        case "pointer":
            store.write(f"checkpoints/{training}/latest.json", b"{")

    with keeping(training, registry, checkpoints) as keeper:
        fitting, expected = keeper.resume(begun), begun()

    assert fitting.epoch == 0
    assert same(fitting.model.state_dict(), expected.model.state_dict())


def test_a_store_that_does_not_answer_is_no_reason_to_overwrite_what_it_holds(
    registry: ModelRegistry, checkpoints: Checkpoints, monkeypatch: pytest.MonkeyPatch
) -> None:
    training = f"{uuid4()}/down"
    train_until(2, training, registry, checkpoints)
    monkeypatch.setattr(
        Checkpoints, "find_latest", failing_at(Checkpoints.find_latest, ServiceUnavailable("S3 is down"), {0})
    )

    with pytest.raises(ServiceUnavailable), keeping(training, registry, checkpoints) as keeper:
        keeper.resume(begun)

    with keeping(training, registry, checkpoints) as keeper:
        assert keeper.resume(begun).epoch == 2


def test_a_checkpoint_that_cannot_be_written_is_passed_over_and_seen_in_mlflow(
    registry: ModelRegistry, checkpoints: Checkpoints, monkeypatch: pytest.MonkeyPatch
) -> None:
    training = f"{uuid4()}/failing"
    monkeypatch.setattr(Checkpoints, "keep", failing_at(Checkpoints.keep, ServiceUnavailable("S3 is down"), {1}))

    train_until(2, training, registry, checkpoints)
    resumed = train_until(EPOCHS, training, registry, checkpoints)

    run = the_run(training.replace("/", "-"))
    assert run.data.tags["checkpoint_failed"] == "epoch 2: S3 is down"
    assert run.data.tags["resumed_from_epoch"] == "1"
    assert all(steps(run, metric, registry) == [1, 2, 3, 4] for metric in METRICS), "2, trained twice, is there once"
    assert resumed.epoch == EPOCHS


def test_an_epoch_that_mlflow_did_not_take_is_recorded_when_the_training_goes_on(
    registry: ModelRegistry, checkpoints: Checkpoints, monkeypatch: pytest.MonkeyPatch
) -> None:
    training = f"{uuid4()}/unrecorded"
    down = ServiceUnavailable("MLflow is down")
    monkeypatch.setattr(TrackedRun, "log_epoch", failing_at(TrackedRun.log_epoch, down, {1, 2}))

    with pytest.raises(ServiceUnavailable):
        train_until(EPOCHS, training, registry, checkpoints)
    train_until(EPOCHS, training, registry, checkpoints)

    run = the_run(training.replace("/", "-"))
    assert run.data.tags["resumed_from_epoch"] == "2"
    assert all(steps(run, metric, registry) == [1, 2, 3, 4] for metric in METRICS)


def test_short_epochs_do_not_wait_for_a_checkpoint_under_way_but_the_last_one_is_kept(
    registry: ModelRegistry, checkpoints: Checkpoints, monkeypatch: pytest.MonkeyPatch
) -> None:
    training, kept, may_end = f"{uuid4()}/short", list[int](), threading.Event()
    keep = Checkpoints.keep

    def slowly(block: Checkpoints, training: str, epoch: int, run_id: str, file: Path) -> None:
        may_end.wait(30)
        keep(block, training, epoch, run_id, file)
        kept.append(epoch)

    monkeypatch.setattr(Checkpoints, "keep", slowly)
    with keeping(training, registry, checkpoints) as keeper:
        fitting = keeper.resume(begun)
        for figures in fitting.train_epochs():
            if figures.epoch == EPOCHS:
                may_end.set()
            keeper.keep(fitting)
        keeper.finish()

    assert kept == [1, EPOCHS]
    assert steps(the_run(training.replace("/", "-")), "val_loss", registry) == [1, 2, 3, 4]


def test_a_training_that_diverges_leaves_no_checkpoint(
    registry: ModelRegistry, checkpoints: Checkpoints, monkeypatch: pytest.MonkeyPatch
) -> None:
    training = f"{uuid4()}/diverging"
    diverged = failing_at(sum_up_epoch, UnusableModel("diverged"), {2})
    monkeypatch.setattr("slipway.learning.fitting.sum_up_epoch", diverged)

    with pytest.raises(UnusableModel):
        train_until(EPOCHS, training, registry, checkpoints)

    assert steps(the_run(training.replace("/", "-")), "val_loss", registry) == [1, 2]
    assert trainings_of(training.partition("/")[0], checkpoints) == []
