"""Which parameters a training run accepts."""

from pathlib import Path
from typing import Any

import pytest

from blocks.errors import InvalidInput
from slipway.learning.parameters import TrainingSettings


def settings(**changed: Any) -> TrainingSettings:
    usable = {
        "model_name": "resnet18-digits",
        "dataset": "digits",
        "epochs": 4,
        "learning_rate": 0.001,
        "batch_size": 64,
        "num_workers": 2,
        "input_shape": [1, 3, 32, 32],
        "seed": 0,
    }
    return TrainingSettings.check(**(usable | changed))


@pytest.mark.parametrize(
    "changed",
    [
        {"dataset": "imagenette", "input_shape": [1, 3, 224, 224]},
        {"dataset": "."},
        {"epochs": 1, "batch_size": 2, "num_workers": 0},
        {"input_shape": [1, 3, 32, 64]},
        {"dataset": "s3://bucket/data/imagenette", "optimizer": "sgd", "frozen_layers": 5},
        {"dataset": "s3://bucket"},
        {"pretrained": "imagenet"},
        {"recipe": "imagenette-20", "epochs": None, "batch_size": None, "num_workers": None, "input_shape": None},
        {"compile": "always", "deterministic": False},
        {"pretrained": "models:/resnet18-imagenette@champion"},
        {"pretrained": __file__},
    ],
)
def test_what_the_demo_and_the_reference_use_is_accepted(changed: dict[str, Any]) -> None:
    assert settings(**changed).model_name == "resnet18-digits"


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("model_name", "a/b"),
        ("model_name", ".."),
        ("model_name", "../up"),
        ("model_name", "with space"),
        ("model_name", "bell\a"),
        ("model_name", ""),
        ("dataset", "imagenet"),
        ("dataset", "mnist"),
        ("dataset", "/nowhere/at/all"),
        ("dataset", "s3://"),
        ("dataset", "s3:///prefix"),
        ("pretrained", "/nowhere/at/all.pth"),
        ("pretrained", "models:/name"),
        ("frozen_layers", 6),
        ("optimizer", "lion"),
        ("recipe", "imagenette-200"),
        ("compile", "sometimes"),
        ("deterministic", "mostly"),
        ("epochs", 0),
        ("epochs", 2.5),
        ("learning_rate", 0.0),
        ("learning_rate", float("nan")),
        ("learning_rate", float("inf")),
        ("batch_size", 1),
        ("num_workers", -1),
        ("seed", -1),
        ("input_shape", [3, 32, 32]),
        ("input_shape", [8, 3, 32, 32]),
        ("input_shape", [1, 1, 32, 32]),
        ("input_shape", [1, 3, 0, 32]),
        ("input_shape", [1, 3, 32, -32]),
        ("input_shape", [1, 3, 8, 8]),
        ("input_shape", [1, 3, 31, 32]),
        ("input_shape", [1, 3, 4096, 32]),
    ],
)
def test_a_bad_value_is_refused_by_name(name: str, value: Any) -> None:
    with pytest.raises(InvalidInput, match=name):
        settings(**{name: value})


@pytest.mark.parametrize(
    ("given", "meant"), [(True, "imagenet"), ("true", "imagenet"), (False, None), ("false", None), ("", None)]
)
def test_pretrained_may_be_said_as_the_reference_s_configuration_does(given: object, meant: str | None) -> None:
    assert settings(pretrained=given).pretrained == meant


def test_the_refusal_of_an_unknown_dataset_says_which_there_are(tmp_path: Path) -> None:
    with pytest.raises(InvalidInput, match="digits or imagenette, or the path of an existing directory or s3"):
        settings(dataset=str(tmp_path / "missing"))


def test_every_bad_value_is_named_at_once() -> None:
    with pytest.raises(InvalidInput, match=r"(?s)epochs.*batch_size"):
        settings(epochs=0, batch_size=0)
