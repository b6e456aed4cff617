"""What train-yolo takes, and that it says what to install."""

import builtins
from typing import Any

import pytest
from pydantic import ValidationError

from blocks.errors import InvalidInput
from slipway.learning.yolo.extra import load_ultralytics
from slipway.learning.yolo.parameters import DetectorSettings


@pytest.mark.parametrize(
    ("changed", "says"),
    [
        ({"image_size": 65}, "expected a multiple of 32"),
        ({"image_size": 4096}, "less than or equal to 2048"),
        ({"network": "yolo11n.onnx"}, "expected a description, say yolo11n.yaml"),
        ({"epochs": 0}, "greater than or equal to 1"),
        ({"rate": 1}, "Extra inputs"),
    ],
)
def test_a_wrong_setting_is_refused(changed: dict[str, Any], says: str) -> None:
    with pytest.raises(ValidationError, match=says):
        DetectorSettings.model_validate({"model_name": "m"} | changed)


def test_without_ultralytics_one_line_says_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    real = builtins.__import__

    def without(name: str, *arguments: Any, **named: Any) -> Any:
        if name.partition(".")[0] == "ultralytics":
            raise ModuleNotFoundError("No module named 'ultralytics'", name=name)
        return real(name, *arguments, **named)

    monkeypatch.setattr(builtins, "__import__", without)

    with pytest.raises(InvalidInput, match="uv pip install ultralytics") as told:
        load_ultralytics()
    assert "\n" not in str(told.value)
