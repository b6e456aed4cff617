"""`slipway predict` and `generate-input`: ask a served model, from a shell."""

import json
import os
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Annotated

from cyclopts import Parameter
from rich.progress import track

from blocks.errors import InvalidInput
from infra.command.screen import console, errors
from infra.prediction.endpoint import DEFAULT_URL, connect
from infra.prediction.pictures import SUFFIXES, Fit
from infra.prediction.predictor import Prediction, Predictor, Reading, Task
from infra.prediction.requests import make_request

_SHOWN_VALUES = 10


def predict(
    model: str,
    path: Path,
    /,
    *,
    url: str | None = None,
    version: str = "",
    task: Task = Task.AUTO,
    output: str | None = None,
    top: int = 5,
    score: float = 0.5,
    overlap: float = 0.5,
    fit: Fit | None = None,
    size: str | None = None,
    mean: tuple[float, float, float] | None = None,
    std: tuple[float, float, float] | None = None,
    names: Path | None = None,
    pictures: Path | None = None,
    as_json: Annotated[bool, Parameter(name="--json", negative=())] = False,
) -> None:
    """Ask a served model about a picture, every picture of a folder, or a request as JSON.

    Parameters
    ----------
    model
        Name of the model in Triton.
    path
        A picture, a folder of pictures, or a KServe request (….json).
    url
        The server: host:port, http://host:port or grpc://host:port; by default TRITON_URL, else localhost:8000.
    version
        Its version in Triton; by default the server chooses.
    task
        What the answer is: classes, objects, tensors as they are; by default by the output's shape.
    output
        The output to read; by default the first.
    top
        How many classes to show.
    score
        Least score of an object.
    overlap
        Boxes of a class that share more of their union than this are one object.
    fit
        How pictures get the model's size; by default letterbox for objects, crop for classes.
    size
        HEIGHTxWIDTH, where the model takes any.
    mean
        Subtracted from each channel, of pixels from 0 to 1.
    std
        What each channel is divided by after that.
    names
        File of class names, one a line; by default the model's labels.
    pictures
        Folder for pictures with the objects drawn in; by default the current one, for objects.
    as_json
        Print a line of JSON for each file.
    """
    given = [name.strip() for name in names.read_text().splitlines()] if names else []
    reading = Reading(
        task, output, top, score, overlap, fit, _parse_size(size), mean or (), std or (), [n for n in given if n]
    )
    endpoint = connect(url or os.environ.get("TRITON_URL") or DEFAULT_URL)
    predictor = Predictor(endpoint, endpoint.describe(model, version), reading)
    for prediction in _predict_all(predictor, path):
        _show(prediction, pictures or Path(), as_json)


def generate_input(
    model: str, /, *, url: str | None = None, version: str = "", size: int = 1, to: Path | None = None
) -> None:
    """Write a request that a served model takes, made up from what the server says: `curl -d @input.json` sends it.

    Parameters
    ----------
    model
        Name of the model in Triton.
    url
        The server: host:port, http://host:port or grpc://host:port; by default TRITON_URL, else localhost:8000.
    version
        Its version in Triton; by default the server chooses.
    size
        Size of the axes that may have any.
    to
        File to write; by default it is printed.
    """
    served = connect(url or os.environ.get("TRITON_URL") or DEFAULT_URL).describe(model, version)
    text = json.dumps(make_request(served, size))
    if to is None:
        print(text)  # noqa: T201
    else:
        to.write_text(text)
        console.print(f"{to}: a request for {model}")


def _predict_all(predictor: Predictor, path: Path) -> Iterator[Prediction]:
    """Yield what is made of each file; of a folder's, one that cannot be read is shown and the others go on."""
    if not path.is_dir():
        yield predictor.predict(path)
        return
    found = sorted(file for file in path.rglob("*") if file.suffix.lower() in SUFFIXES and file.is_file())
    if not found:
        raise InvalidInput(f"folder {path}: has no pictures, expected files of {sorted(SUFFIXES)}")
    failed = []
    for file in track(found, "predicting", console=errors, transient=True, disable=not sys.stderr.isatty()):
        try:
            yield predictor.predict(file)
        except InvalidInput as error:
            failed.append(file)
            errors.print(f"{type(error).__name__}: {error}")
    if failed:
        raise InvalidInput(f"{len(failed)} of {len(found)} pictures in {path} got no prediction; see the lines above")


def _show(prediction: Prediction, pictures: Path, as_json: bool) -> None:
    place = None
    if prediction.drawn is not None:
        pictures.mkdir(parents=True, exist_ok=True)
        place = pictures / f"{prediction.source.stem}_detection.jpg"
        prediction.drawn.save(place, quality=92)
    if as_json:
        line = {
            "source": str(prediction.source),
            "version": prediction.version,
            "elapsed_ms": round(prediction.elapsed_ms, 2),
            "found": prediction.found,
            **({"picture": str(place)} if place else {}),
        }
        print(json.dumps(line))  # noqa: T201
        return
    console.print(f"{prediction.source}: version {prediction.version}, {prediction.elapsed_ms:.1f} ms")
    for found in prediction.found:
        console.print(f"  {_describe(found)}")
    if not prediction.found:
        console.print("  nothing found")
    if place:
        console.print(f"  drawn in {place}")


def _describe(found: dict[str, object]) -> str:
    if "output" in found:
        data = found["data"]
        assert isinstance(data, list)
        shown = ", ".join(f"{value:g}" if isinstance(value, float) else str(value) for value in data[:_SHOWN_VALUES])
        return f"{found['output']} {found['shape']}: {shown}" + (" …" if len(data) > _SHOWN_VALUES else "")
    box = f"  {found['box']}" if "box" in found else ""
    return f"{found['score']:.4f}  {found['name']}{box}"


def _parse_size(text: str | None) -> tuple[int, int] | None:
    if text is None:
        return None
    height, _, width = text.lower().partition("x")
    if not (height.isdecimal() and (width.isdecimal() or not width)) or int(height) < 1:
        raise InvalidInput(f"--size {text!r}: expected HEIGHTxWIDTH in pixels, say 640x640")
    return int(height), int(width or height)
