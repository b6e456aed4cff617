"""Every precision of an export over the whole validation set: measured batch by batch, and timed in turns."""

import statistics
import time
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import onnx
import onnxruntime
from numpy.typing import NDArray

from blocks.errors import bounded
from slipway.learning.choice import PrecisionFigures
from slipway.learning.datasets import ImageSplit
from slipway.learning.inference import Array, open_session, run_onnx
from slipway.learning.parity import compare
from slipway.learning.samples import make_input
from slipway.learning.served_precision import FULL, TOLERANCES, Precision, Variant

BATCH = 32
ROUNDS, BATCHES_A_ROUND = 7, 4
Sessions = Mapping[Precision, onnxruntime.InferenceSession]


@dataclass
class _Tally:
    """What is kept of one precision's answers: sums and the largest, never the answers."""

    right: int = 0
    changed: int = 0
    loss: float = 0.0
    largest: float = 0.0
    is_finite: bool = True

    def add(self, found: Array, full: Array, labels: NDArray[np.int64]) -> None:
        """Count a batch of answers beside those of FP32."""
        self.is_finite = self.is_finite and bool(np.isfinite(found).all())
        predicted = found.argmax(axis=1)
        self.right += int((predicted == labels).sum())
        self.changed += int((predicted != full.argmax(axis=1)).sum())
        if self.is_finite:
            self.loss += _sum_cross_entropy(found, labels)
            self.largest = max(self.largest, float(np.abs(found.astype(np.float64) - full).max()))


def measure(sessions: Sessions, sizes: Mapping[Precision, int], split: ImageSplit) -> list[PrecisionFigures]:
    """Return what each precision, FP32 among them, does over all images of a split.

    Answers are compared batch by batch, so that memory does not grow with the split. A precision that answers with a
    NaN or an infinity has no accuracy and no loss.

    Args:
        sessions: by precision, opened on the same device.
        sizes: bytes of each one's files.
        split: the validation images.
    """
    tallies = {precision: _Tally() for precision in sessions}
    scale = 0.0
    for start in range(0, len(split), BATCH):
        inputs, labels = make_input(split.images[start : start + BATCH]), split.labels[start : start + BATCH]
        full, _ = run_onnx(sessions[FULL], inputs, BATCH)
        scale = max(scale, float(np.abs(full).max()))
        for precision, session in sessions.items():
            found = full if precision == FULL else run_onnx(session, inputs, BATCH)[0]
            tallies[precision].add(found, full, labels)
    times = time_in_turns(sessions, make_input(split.images[: BATCH * BATCHES_A_ROUND]))
    return [
        _summarise(precision, tally, scale, len(split), times[precision], sizes[precision])
        for precision, tally in tallies.items()
    ]


def time_in_turns(sessions: Sessions, inputs: Array) -> dict[Precision, float]:
    """Return milliseconds an image, the median of rounds in which each takes its turn: noise then hits all alike."""
    names = list(sessions)
    seen: dict[Precision, list[float]] = {name: [] for name in names}
    for name in names:
        run_onnx(sessions[name], inputs[:BATCH], BATCH)  # the first run is slower than all others
    for number in range(ROUNDS):
        for name in names[number % len(names) :] + names[: number % len(names)]:
            started = time.perf_counter()
            run_onnx(sessions[name], inputs, BATCH)
            seen[name].append((time.perf_counter() - started) * 1000 / len(inputs))
    return {name: statistics.median(times) for name, times in seen.items()}


def find_problem(variant: Variant, file: Path, full: Path, inputs: Mapping[str, Array]) -> str | None:
    """Return what makes a variant unusable, None where nothing does.

    It has to be sound, to take and give what FP32 does, and to compute the same whichever kernels compute it: as its
    graph says, node by node on a CPU, or optimised for this device, in batches of 1, 2 and 32. How far these may be
    apart is what a release allows a replica.
    """
    try:
        onnx.checker.check_model(str(file), full_check=True)
        plain, optimised = _open_plain(file), open_session(file)
        if (seen := _describe(optimised)) != (expected := _describe(open_session(full))):
            return f"takes and gives {seen}, expected {expected}"
        for name, samples in inputs.items():
            known, _ = run_onnx(plain, samples, BATCH)
            for size in (1, 2, BATCH):
                found, _ = run_onnx(optimised, samples, size)
                parity = compare(known, found, inputs=name, batch_size=size, tolerance=TOLERANCES[variant])
                if not (parity.max_diff <= parity.tolerance and parity.class_changes == 0):
                    return f"gate 2: its own kernels disagree, {parity.sentence}"
    except Exception as error:  # noqa: BLE001 - onnx and ONNX Runtime raise a type of their own for each defect
        return f"gate 2: it cannot be checked and run: {bounded(error)}"
    return None


def _open_plain(path: Path) -> onnxruntime.InferenceSession:
    options = onnxruntime.SessionOptions()
    options.graph_optimization_level = onnxruntime.GraphOptimizationLevel.ORT_DISABLE_ALL
    options.log_severity_level = 3
    options.intra_op_num_threads = 1
    return onnxruntime.InferenceSession(str(path), options, providers=["CPUExecutionProvider"])


def _describe(session: onnxruntime.InferenceSession) -> list[tuple[str, str, list[object]]]:
    return [(tensor.name, tensor.type, tensor.shape) for tensor in (*session.get_inputs(), *session.get_outputs())]


def _sum_cross_entropy(logits: Array, labels: NDArray[np.int64]) -> float:
    shifted = logits.astype(np.float64) - logits.max(axis=1, keepdims=True)
    losses = np.log(np.exp(shifted).sum(axis=1)) - shifted[np.arange(len(labels)), labels]
    return float(losses.sum())


def _summarise(
    precision: Precision, tally: _Tally, scale: float, images: int, ms_per_image: float, size_bytes: int
) -> PrecisionFigures:
    usable = tally.is_finite
    return PrecisionFigures(
        precision=precision,
        images=images,
        accuracy=tally.right / images if usable else None,
        loss=tally.loss / images if usable else None,
        max_diff=tally.largest / (scale or 1.0) if usable else None,
        changed_classes=tally.changed / images,
        ms_per_image=ms_per_image,
        size_bytes=size_bytes,
    )
