"""Gate 2's comparison: the registered PyTorch model and its ONNX export on the same inputs."""

from dataclasses import dataclass
from pathlib import Path

import numpy as np
import onnx
from torch import nn

from blocks.errors import bounded
from blocks.labels import (
    VALIDATION_MAX_DIFF_TAG,
    VALIDATION_PASSED_TAG,
    VALIDATION_SAMPLES,
    VALIDATION_SOFTMAX_MAX_DIFF,
    VALIDATION_SPEEDUP,
)
from slipway.learning.inference import Array, name_device, open_session, run_onnx, run_pytorch
from slipway.learning.parity import Parity, compare

LARGEST_BATCH = 32


@dataclass(frozen=True)
class Comparison:
    """Every set of inputs at every batch size; `problem` says why there are fewer, or none."""

    parities: tuple[Parity, ...]
    problem: str | None
    pytorch_time_s: float
    onnx_time_s: float
    device: str = ""

    @property
    def passed(self) -> bool:
        """Whether everything was compared, and everything is within tolerance."""
        return self.problem is None and bool(self.parities) and all(parity.passed for parity in self.parities)

    @property
    def worst(self) -> Parity | None:
        """The set that differs most."""
        return max(self.parities, key=lambda parity: (not parity.passed, parity.max_diff), default=None)

    @property
    def reason(self) -> str:
        """Why it did or did not pass, in one sentence."""
        return self.problem or (self.worst.sentence if self.worst else "nothing was compared")


def compare_models(model: nn.Module, onnx_file: Path, inputs: dict[str, Array], tolerance: float) -> Comparison:
    """Compare the models on each named set of inputs (n, 3, height, width), in batches of 1, 2 and up to 32.

    A file that is no valid ONNX, or that cannot be run, is a problem of the comparison, not an exception.
    """
    parities: list[Parity] = []
    pytorch_time_s = onnx_time_s = 0.0
    try:
        onnx.checker.check_model(str(onnx_file), full_check=True)
        session = open_session(onnx_file)
        for batch_size in (1, 2, LARGEST_BATCH):
            for name, samples in inputs.items():
                expected, pytorch_s = run_pytorch(model, samples, batch_size)
                found, onnx_s = run_onnx(session, samples, batch_size)
                parities.append(compare(expected, found, inputs=name, batch_size=batch_size, tolerance=tolerance))
                pytorch_time_s, onnx_time_s = pytorch_time_s + pytorch_s, onnx_time_s + onnx_s
    except Exception as error:  # noqa: BLE001 - onnx and ONNX Runtime raise a type of their own for each defect
        problem = f"the ONNX model cannot be checked and run: {bounded(error)}"
        return Comparison(tuple(parities), problem, pytorch_time_s, onnx_time_s)
    return Comparison(tuple(parities), None, pytorch_time_s, onnx_time_s, name_device(session.get_providers()))


def summarise(comparison: Comparison, tolerance: float) -> dict[str, float]:
    """Return the metrics an export run records, `validation_*`; differences are the worst of all sets."""
    parities = comparison.parities
    metrics = {
        VALIDATION_PASSED_TAG: float(comparison.passed),
        "validation_tolerance": tolerance,
        VALIDATION_SAMPLES: float(sum(parity.samples for parity in parities if parity.batch_size == 1)),
        "validation_pytorch_time_seconds": comparison.pytorch_time_s,
        "validation_onnx_time_seconds": comparison.onnx_time_s,
    }
    if comparison.onnx_time_s:
        metrics[VALIDATION_SPEEDUP] = comparison.pytorch_time_s / comparison.onnx_time_s
    if parities:
        metrics |= {
            VALIDATION_MAX_DIFF_TAG: max(parity.max_diff for parity in parities),
            "validation_mean_diff": float(np.mean([parity.mean_diff for parity in parities])),
            "validation_median_diff": float(np.median([parity.median_diff for parity in parities])),
            VALIDATION_SOFTMAX_MAX_DIFF: max(parity.softmax_max_diff for parity in parities),
            "validation_max_absolute_diff": max(parity.max_diff * (parity.scale or 1.0) for parity in parities),
        }
    return metrics
