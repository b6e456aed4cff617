"""A prediction as people ask for it: a picture or a request in, classes, objects or tensors out."""

from collections.abc import Sequence
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from PIL import Image

from blocks.errors import InvalidInput
from infra.prediction.endpoint import Endpoint
from infra.prediction.objects import OVERLAP, SCORE, Objects, find_objects
from infra.prediction.pictures import Fit, draw, find_layout, fit_picture, make_tensor, open_picture
from infra.prediction.requests import read_request
from infra.prediction.served import Answer, Served, Tensor

_ROWS = 2  # axes of a detector's output, without that of the batch


class Task(StrEnum):
    """What a model's answer is read as."""

    AUTO = "auto"
    CLASSIFY = "classify"
    DETECT = "detect"
    RAW = "raw"


@dataclass(frozen=True)
class Reading:
    """How pictures become tensors, and tensors answers."""

    task: Task = Task.AUTO
    output: str | None = None
    top: int = 5
    score: float = SCORE
    overlap: float = OVERLAP
    fit: Fit | None = None  # None: letterbox for a detector, else the middle
    size: tuple[int, int] | None = None  # height and width, where the model takes any
    mean: Sequence[float] = ()
    std: Sequence[float] = ()
    names: Sequence[str] = ()


class Prediction(NamedTuple):
    """What a model made of one file; `drawn` is the picture with its objects, None where it has none to draw on."""

    source: Path
    version: str
    elapsed_ms: float
    found: list[dict[str, Any]]
    drawn: Image.Image | None = None


class Predictor:
    """A model on one server, and how its answers are read."""

    def __init__(self, endpoint: Endpoint, served: Served, reading: Reading) -> None:
        self._endpoint, self._served, self._reading = endpoint, served, reading
        self._output = _choose_output(served, reading.output)
        self._task = _guess_task(self._output, served) if reading.task is Task.AUTO else reading.task

    def predict(self, path: Path) -> Prediction:
        """Return what the model makes of a picture, or of a request in a file `….json`."""
        if path.suffix.lower() == ".json":
            return self._answer_request(path)
        picture, tensor = open_picture(path), self._get_input()
        layout = find_layout(tensor, self._reading.size)
        fit = self._reading.fit or (Fit.LETTERBOX if self._task is Task.DETECT else Fit.CROP)
        fitted, placement = fit_picture(picture, layout, fit)
        inputs = {tensor.name: make_tensor(fitted, tensor, layout, self._reading.mean, self._reading.std)}
        answer = self._endpoint.infer(self._served, inputs, self._reading.top if self._task is Task.CLASSIFY else 0)
        if self._task is not Task.DETECT:
            return Prediction(path, answer.version, answer.elapsed_ms, self._read(answer))
        objects = find_objects(answer.outputs[self._output.name], self._reading.score, self._reading.overlap)
        boxes = placement.restore(objects.boxes, *picture.size)
        names = [_name(int(kind), self._reading.names) for kind in objects.classes]
        captions = [f"{name} {score:.2f}" for name, score in zip(names, objects.scores, strict=True)]
        drawn = draw(picture, boxes, captions, objects.classes.tolist())
        return Prediction(path, answer.version, answer.elapsed_ms, _list_objects(objects, boxes, names), drawn)

    def _answer_request(self, path: Path) -> Prediction:
        inputs = read_request(path, self._served)
        classify = self._reading.task is Task.CLASSIFY
        answer = self._endpoint.infer(self._served, inputs, self._reading.top if classify else 0)
        found = self._read(answer) if classify else _list_tensors(answer)
        return Prediction(path, answer.version, answer.elapsed_ms, found)

    def _read(self, answer: Answer) -> list[dict[str, Any]]:
        if self._task is Task.CLASSIFY:
            return read_classes(answer.outputs[self._output.name], self._reading.names)
        return _list_tensors(answer)

    def _get_input(self) -> Tensor:
        if len(self._served.inputs) != 1:
            names = [tensor.name for tensor in self._served.inputs]
            raise InvalidInput(f"model '{self._served.name}': takes {names}, expected one picture; send JSON")
        return self._served.inputs[0]


def read_classes(classified: np.ndarray, names: Sequence[str] = ()) -> list[dict[str, Any]]:
    """Return classes from Triton's `score:index[:label]`, the surest first; names go before the model's own labels."""
    found = []
    for text in classified.ravel():
        score, index, *label = (text.decode() if isinstance(text, bytes) else str(text)).split(":", 2)
        own = label[0] if label else ""
        name = _name(int(index), names) if names or not own else own
        found.append({"class": int(index), "name": name, "score": float(score)})
    return found


def _choose_output(served: Served, name: str | None) -> Tensor:
    by_name = {tensor.name: tensor for tensor in served.outputs}
    if name is None:
        return served.outputs[0]
    if name not in by_name:
        raise InvalidInput(f"model '{served.name}': gives no output '{name}', expected one of {sorted(by_name)}")
    return by_name[name]


def _guess_task(output: Tensor, served: Served) -> Task:
    """Read scores, [classes], as classes and a table, [rows, columns], as a detector's; with a batch axis before it."""
    batched = len(served.inputs) == 1 and len(served.inputs[0].shape) == 4
    axes = len(output.shape) - batched
    return Task.CLASSIFY if axes == 1 else Task.DETECT if axes == _ROWS else Task.RAW


def _name(index: int, names: Sequence[str]) -> str:
    return names[index] if index < len(names) else str(index)


def _list_objects(objects: Objects, boxes: np.ndarray, names: Sequence[str]) -> list[dict[str, Any]]:
    return [
        {"class": int(kind), "name": name, "score": round(float(score), 4), "box": [round(x, 1) for x in box]}
        for kind, name, score, box in zip(objects.classes, names, objects.scores, boxes.tolist(), strict=True)
    ]


def _list_tensors(answer: Answer) -> list[dict[str, Any]]:
    return [
        {"output": name, "shape": list(array.shape), "data": _list_values(array)}
        for name, array in answer.outputs.items()
    ]


def _list_values(array: np.ndarray) -> list[Any]:
    if array.dtype == np.object_:
        return [text.decode(errors="replace") if isinstance(text, bytes) else str(text) for text in array.ravel()]
    return list(array.ravel().tolist())
