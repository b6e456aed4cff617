"""Where gate 2 computes: on the GPU that is there, both models, and on the CPU otherwise."""

from pathlib import Path

import onnx
import pytest
import torch

from slipway.learning.inference import name_device, open_session
from slipway.learning.report import write_report
from tests.apparatus.models import linear_model, random_weights


@pytest.mark.parametrize(
    ("providers", "has_gpu", "device"),
    [
        (["CUDAExecutionProvider", "CPUExecutionProvider"], True, "both on the GPU, TF32 off"),
        (["CPUExecutionProvider"], True, "PyTorch on the GPU, ONNX on the CPU, TF32 off"),
        (["CPUExecutionProvider"], False, "both on the CPU"),
    ],
)
def test_where_each_model_computed_is_said_even_where_a_runtime_finds_no_gpu(
    monkeypatch: pytest.MonkeyPatch, providers: list[str], has_gpu: bool, device: str
) -> None:
    monkeypatch.setattr(torch.cuda, "is_available", lambda: has_gpu)

    assert name_device(providers) == device
    assert f"PyTorch against ONNX Runtime, {device}. " in write_report("m", [], None, device)


def test_the_runtime_that_is_locked_computes_without_a_gpu(tmp_path: Path) -> None:
    onnx.save(linear_model(random_weights(1)), tmp_path / "model.onnx")

    assert open_session(tmp_path / "model.onnx").get_providers()[-1] == "CPUExecutionProvider"
