"""What is measured of a detector as it will be served: of its ONNX file, here and now."""

import ast
import statistics
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np
import onnx

from blocks.errors import InvalidInput, UnusableModel, bounded
from slipway.learning.inference import open_session
from slipway.learning.yolo.extra import load_ultralytics
from slipway.learning.yolo.gate import DetectorFigures
from slipway.learning.yolo.results import DatasetSplit
from slipway.learning.yolo.splitting import lay_out
from slipway.learning.yolo.training import choose_device

_WARM_UPS, _ROUNDS = 3, 30


class DetectorFile(NamedTuple):
    """An ONNX file of a detector, and what it says about itself."""

    path: Path
    size: int
    classes: tuple[str, ...]


def open_detector(path: Path, subject: str) -> DetectorFile:
    """Return an ONNX file with its picture size and classes; `UnusableModel` where it is no detector's."""
    try:
        model = onnx.load(str(path), load_external_data=False)
        size = model.graph.input[0].type.tensor_type.shape.dim[3].dim_value
        names = ast.literal_eval({entry.key: entry.value for entry in model.metadata_props}["names"])
        return DetectorFile(path, int(size), tuple(str(names[number]) for number in range(len(names))))
    except Exception as error:
        raise UnusableModel(
            f"{subject}: its ONNX file says no picture size and classes ({bounded(error, 200)}), expected a detector "
            "that train-yolo registered; take its alias champion away"
        ) from error


def check_classes(detector: DetectorFile, classes: tuple[str, ...], subject: str) -> None:
    """Raise `InvalidInput` where a detector finds other classes than a dataset has: no figure would compare them."""
    if detector.classes != classes:
        raise InvalidInput(
            f"{subject} finds {bounded(detector.classes, 200)}, the dataset has {bounded(classes, 200)}; train under "
            "another model name"
        )


def measure(detectors: Sequence[DetectorFile], split: DatasetSplit) -> list[DetectorFigures]:
    """Return the figures of detectors on one machine: mAP50-95 on the test part, and milliseconds, taken in turns."""
    maps = [measure_map(detector, split) for detector in detectors]
    times = measure_milliseconds(detectors)
    return [DetectorFigures(map50_95=found, milliseconds=spent) for found, spent in zip(maps, times, strict=True)]


def measure_map(detector: DetectorFile, split: DatasetSplit) -> float:
    """Return mAP50-95 of an ONNX file on the test part of a split, as ultralytics computes it."""
    ultralytics = load_ultralytics()
    with tempfile.TemporaryDirectory(prefix="slipway-yolo-") as directory:
        data = lay_out(split, Path(directory) / "data")
        judged = ultralytics.YOLO(str(detector.path), task="detect").val(
            data=str(data),
            split="test",
            imgsz=detector.size,
            batch=1,
            rect=False,
            device=choose_device(),
            workers=0,
            project=str(Path(directory) / "runs"),
            name="val",
            plots=False,
            verbose=False,
        )
        return float(judged.box.map)


def measure_milliseconds(detectors: Sequence[DetectorFile]) -> list[float]:
    """Return the median time of one picture through each file, asked in turns, so that a busy machine slows all.

    Who begins changes with each turn: the first one pays for what the others left in the caches.
    """
    sessions = [open_session(detector.path) for detector in detectors]
    pictures = [{"images": np.zeros((1, 3, detector.size, detector.size), np.float32)} for detector in detectors]
    times: list[list[float]] = [[] for _ in detectors]
    for turn in range(_WARM_UPS + _ROUNDS):
        for place in range(len(detectors)):
            asked = (turn + place) % len(detectors)
            started = time.perf_counter()
            sessions[asked].run(None, pictures[asked])
            if turn >= _WARM_UPS:
                times[asked].append(1000 * (time.perf_counter() - started))
    return [statistics.median(taken) for taken in times]
