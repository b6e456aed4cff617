"""What a load test sends, and what it takes for an answer."""

import json
from pathlib import Path
from typing import NamedTuple

from infra.prediction.requests import make_request, read_inputs, read_request
from infra.prediction.served import Arrays, Served

DIFFERENT = 16  # a server with a cache, or a model with one, is not asked the same each time


class Request(NamedTuple):
    """One request, as HTTP and as gRPC send it."""

    text: str
    inputs: Arrays


def load_requests(served: Served, path: Path | None, size: int = 1) -> list[Request]:
    """Return the request of a file, else different ones made up as `slipway generate-input` does.

    Raises `InvalidInput` where the file is no request that the model takes.
    """
    if path is not None:
        inputs = read_request(path, served)
        return [Request(path.read_text(), inputs)]
    made_up = [make_request(served, size, seed) for seed in range(DIFFERENT)]
    return [Request(json.dumps(request), read_inputs(request)) for request in made_up]


def count_outputs(text: str) -> int:
    """Return how many outputs with data an answer over HTTP has; none where it is no answer."""
    try:
        return sum("data" in output for output in json.loads(text)["outputs"])
    except (ValueError, KeyError, TypeError):
        return 0
