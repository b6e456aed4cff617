"""Step train, against the real MLflow: one epoch of ResNet18 on digits, looked at from every side."""

import math
from pathlib import Path
from typing import Any

import mlflow
import numpy as np
import pytest
import torch
from mlflow.entities import Run
from torch import nn

from blocks.environment import Environment
from blocks.errors import NotRegistered, ServiceUnavailable, UnusableModel
from blocks.registry import ModelRegistry
from slipway.learning.evaluation import evaluate
from slipway.learning.parameters import TrainingSettings
from slipway.learning.results import TrainedModel
from slipway.learning.samples import read_samples
from slipway.learning.training import train
from slipway.learning.weights import load_weights
from tests.apparatus.networks import SmallNetwork
from tests.apparatus.ports import free_port
from tests.apparatus.trained_candidates import digits, unused_name

SETTINGS: dict[str, Any] = {"dataset": "digits", "learning_rate": 0.003, "batch_size": 32, "num_workers": 0, "seed": 0}


def settings(model_name: str, **other: Any) -> TrainingSettings:
    values = {"model_name": model_name, "epochs": 1, "input_shape": SHAPE, **SETTINGS}
    return TrainingSettings.check(**values | other)


SHAPE = [1, 3, 32, 32]


@pytest.fixture(scope="module")
def registry(environment: Environment) -> ModelRegistry:
    return environment.registry


@pytest.fixture(scope="module")
def trained(registry: ModelRegistry) -> TrainedModel:
    return train(settings(unused_name(), epochs=2), registry=registry)


@pytest.fixture(scope="module")
def run(trained: TrainedModel, registry: ModelRegistry) -> Run:
    return registry.connect().get_run(trained.run_id)


def test_what_is_registered_is_the_best_epochs_weights(trained: TrainedModel, registry: ModelRegistry) -> None:
    model, shape = load_weights(registry.get_version(trained.model_name, trained.version), registry)

    judged = evaluate(model, digits().validation, 10, torch.device("cpu"))

    assert shape == SHAPE
    assert judged.accuracy == pytest.approx(trained.best_val_accuracy)
    assert judged.loss == pytest.approx(trained.best_val_loss, rel=1e-4)


def test_two_epochs_learn_far_more_than_guessing(trained: TrainedModel) -> None:
    assert trained.best_val_accuracy > 0.6


def test_the_registered_model_takes_batches_of_any_size_and_does_not_learn_from_them(
    trained: TrainedModel, registry: ModelRegistry
) -> None:
    model, _ = load_weights(registry.get_version(trained.model_name, trained.version), registry)
    images = torch.rand(5, 3, 32, 32)

    with torch.no_grad():
        together, alone = model(images), torch.cat([model(image.unsqueeze(0)) for image in images])

    assert torch.allclose(together, alone, atol=1e-4)


def test_nothing_registered_is_a_pickle(trained: TrainedModel, registry: ModelRegistry, tmp_path: Path) -> None:
    files = registry.download(registry.get_version(trained.model_name, trained.version), tmp_path / "model")

    names = {file.name for file in files.rglob("*") if file.is_file()}
    assert "model.pt2" in names
    assert not any(name.endswith((".pth", ".pt", ".pkl")) or "pickle" in name for name in names)


def test_the_run_tells_how_it_was_made(run: Run) -> None:
    params, tags = run.data.params, run.data.tags

    assert {"training.epochs": "2", "training.learning_rate": "0.003", "training.seed": "0"}.items() <= params.items()
    assert {"pytorch_version", "cuda_version", "device", "best_epoch"} <= params.keys()
    assert {"approach": "from-scratch", "pretrained": "false", "architecture": "resnet18"}.items() <= tags.items()


@pytest.mark.parametrize(
    "metric", ["best_val_accuracy", "val_accuracy", "val_loss", "train_loss", "epoch_time", "best_val_loss"]
)
def test_every_epochs_figures_are_recorded(run: Run, metric: str, registry: ModelRegistry) -> None:
    history = registry.connect().get_metric_history(run.info.run_id, metric)

    assert [point.step for point in history] == [1, 2]
    assert all(math.isfinite(point.value) for point in history)


def test_accuracy_is_a_fraction(run: Run) -> None:
    assert 0 < run.data.metrics["best_val_accuracy"] <= 1


def test_the_run_names_the_data_by_digest(run: Run) -> None:
    assert run.inputs
    digests = {used.tags[0].value: used.dataset.digest for used in run.inputs.dataset_inputs}

    assert digests == {"training": digits().training_digest, "validation": digits().validation_digest}
    assert run.data.params["data.validation_digest"] == digits().validation_digest


def test_the_run_carries_pictures_and_sample_images(run: Run, registry: ModelRegistry, tmp_path: Path) -> None:
    files = {file.path: file.file_size for file in registry.connect().list_artifacts(run.info.run_id)}
    samples = mlflow.artifacts.download_artifacts(
        run_id=run.info.run_id, artifact_path="samples.npz", dst_path=str(tmp_path)
    )

    assert {"confusion_matrix.png", "training_curves.png", "sample_predictions.png"} <= files.keys()
    assert all((size or 0) > 5_000 for name, size in files.items() if name.endswith(".png"))
    assert read_samples(Path(samples)).shape == (32, 3, 32, 32)


def test_weights_that_are_not_numbers_are_never_registered(
    registry: ModelRegistry, monkeypatch: pytest.MonkeyPatch
) -> None:
    class Overflowing(SmallNetwork):
        def __init__(self, classes: int) -> None:
            super().__init__(classes)
            self.unused = nn.Parameter(torch.tensor([math.nan]), requires_grad=False)

    monkeypatch.setattr("slipway.learning.training.ResNet18", Overflowing)
    name = unused_name()

    with pytest.raises(UnusableModel, match="'unused' hold NaN"):
        train(settings(name), registry=registry)

    with pytest.raises(NotRegistered):
        registry.get_version(name, 1)
    [failed] = mlflow.search_runs(experiment_names=[name], output_format="list")
    assert failed.info.status == "FAILED"


def test_a_registry_that_is_down_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("slipway.learning.training.ResNet18", SmallNetwork)
    address = f"http://127.0.0.1:{free_port()}"
    nowhere = ModelRegistry(tracking_uri=address, request_timeout_s=1, max_retries=0)

    with pytest.raises(ServiceUnavailable, match=address):
        train(settings(unused_name()), registry=nowhere)


def test_the_same_seed_registers_the_same_weights(registry: ModelRegistry, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("slipway.learning.training.ResNet18", SmallNetwork)
    name = unused_name()

    versions = [train(settings(name), registry=registry).version for _ in range(2)]

    first, again = (load_weights(registry.get_version(name, version), registry)[0].state_dict() for version in versions)
    assert versions == [1, 2]
    assert all(np.array_equal(first[key], again[key]) for key in first)


def test_a_recipe_is_followed_and_recorded_with_what_was_asked_for_in_its_place(
    registry: ModelRegistry, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("slipway.learning.training.ResNet18", SmallNetwork)
    said = TrainingSettings.check(
        model_name=unused_name(), dataset="digits", seed=0, recipe="imagenette-5", epochs=2, input_shape=SHAPE
    )

    trained = train(said, registry=registry)

    params = registry.connect().get_run(trained.run_id).data.params
    expected = {
        "training.recipe": "imagenette-5",
        "training.epochs": "2",
        "training.learning_rate": "0.002",
        "training.label_smoothing": "0.1",
        "training.averaged_epochs": "0.5",
        "training.deterministic": "True",
        "data.input_shape": "1,3,32,32",
    }
    assert expected.items() <= params.items()
    assert int(params["training.batch_size"]) >= 64 and int(params["training.num_workers"]) >= 1


def test_a_registered_model_is_what_another_training_goes_on_from(
    trained: TrainedModel, registry: ModelRegistry
) -> None:
    source = f"models:/{trained.model_name}/{trained.version}"
    name = unused_name()

    frozen = train(
        settings(name, pretrained=source, frozen_layers=5, optimizer="sgd", learning_rate=1e-6), registry=registry
    )

    recorded = registry.connect().get_run(frozen.run_id).data
    assert frozen.best_val_accuracy == pytest.approx(trained.best_val_accuracy, abs=0.02)
    assert {recorded.tags[tag] for tag in ("approach", "pretrained", "architecture")} == {
        "transfer-learning",
        "true",
        "resnet18",
    }
    assert recorded.params["training.optimizer"] == "sgd"
    assert (recorded.params["training.pretrained"], recorded.params["training.frozen_layers"]) == (source, "5")
    assert (recorded.params["model.architecture"], recorded.params["model.pretrained"]) == ("resnet18", "True")
