"""`make demo` on the tests' stack: promoted and live on every replica the first time, rejected the second."""

import os
import subprocess
import sys

import pytest

from infra.local.settings import ROOT, LocalStack


def demo(stack: LocalStack) -> str:
    """Return what the demo prints; its servers are there already."""
    finished = subprocess.run(
        [sys.executable, "-m", "infra.local.demo"],
        cwd=ROOT,
        env=os.environ | stack.environment() | {"COLUMNS": "300"},
        capture_output=True,
        text=True,
        timeout=400,
        check=False,
    )
    assert finished.returncode == 0, finished.stdout + finished.stderr
    return finished.stdout


@pytest.mark.timeout(900)
def test_the_demo_ends_with_what_is_live_and_a_second_one_with_a_graceful_refusal(stack: LocalStack) -> None:
    first, second = demo(stack), demo(stack)

    assert "model 'resnet18-digits' version 1 promoted: best_val_accuracy 0.9" in first
    assert "resnet18-digits-onnx: version 1 is deploy and live" in first
    for address in stack.triton_addresses:
        assert f"{address}: resnet18-digits-onnx version 1 ready; version 1 verified: largest difference" in first
    assert "Rejected after" in second
    assert "resnet18-digits-onnx: version 1 is deploy and live" in second
