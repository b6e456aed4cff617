"""Clients of whatever serves a model over HTTP: Triton, MLServer or MLflow's scoring server, asked at a fixed rate."""

import http.client
import json
import threading
import time
from collections import Counter
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any, NamedTuple

import numpy as np

from tests.benchmarks.peers.models import CLASSES, INPUT, answer_of

REQUESTS_PER_S = 10.0
TIMEOUT_S = 10.0
_INPUT = {"name": "input", "shape": INPUT.shape, "datatype": "FP32", "data": INPUT.ravel().tolist()}
KSERVE = json.dumps({"inputs": [_INPUT]})
INVOCATION = json.dumps({"inputs": {"input": INPUT.tolist()}})


class Endpoint(NamedTuple):
    """Where to ask, and with what."""

    address: str  # host:port
    path: str
    body: str

    @classmethod
    def of_kserve(cls, address: str, model_name: str) -> "Endpoint":
        """Return the endpoint of a server that speaks KServe's protocol, asked without a version."""
        return cls(address, f"/v2/models/{model_name}/infer", KSERVE)

    def ask(self) -> str:
        """Ask once; return which version's answer it was, `other` where it is none's, or the error."""
        connection = http.client.HTTPConnection(self.address, timeout=TIMEOUT_S)
        try:
            return _ask(connection, self)
        except (OSError, http.client.HTTPException, ValueError) as error:
            return f"error: {error}"
        finally:
            connection.close()


class Answers:
    """What came of the requests: how often each version answered, and how many failed."""

    def __init__(self) -> None:
        self.by_version: Counter[str] = Counter()
        self.failures: list[str] = []

    def __str__(self) -> str:
        return f"{len(self.failures)} of {self.by_version.total() + len(self.failures)}"


@contextmanager
def asked(endpoints: Sequence[Endpoint], lead_s: float = 1.0) -> Iterator[Answers]:
    """Have each endpoint asked while the block runs, and a second before and after it."""
    answers, ended = Answers(), threading.Event()
    threads = [threading.Thread(target=_keep_asking, args=(each, answers, ended), daemon=True) for each in endpoints]
    for thread in threads:
        thread.start()
    time.sleep(lead_s)
    try:
        yield answers
        time.sleep(lead_s)
    finally:
        ended.set()
        for thread in threads:
            thread.join()


def _keep_asking(endpoint: Endpoint, answers: Answers, ended: threading.Event) -> None:
    connection = http.client.HTTPConnection(endpoint.address, timeout=TIMEOUT_S)
    due = time.monotonic()
    while not ended.wait(max(0.0, due - time.monotonic())):
        due = max(due + 1 / REQUESTS_PER_S, time.monotonic())
        try:
            answers.by_version[_ask(connection, endpoint)] += 1
        except (OSError, http.client.HTTPException, ValueError) as error:
            connection.close()  # the next request connects anew
            answers.failures.append(f"{type(error).__name__}: {error}")
    connection.close()


def _ask(connection: http.client.HTTPConnection, endpoint: Endpoint) -> str:
    connection.request("POST", endpoint.path, endpoint.body, {"Content-Type": "application/json"})
    response = connection.getresponse()
    content = response.read().decode(errors="replace")
    if response.status != http.client.OK:
        raise ValueError(f"{response.status} {content[:200]}")
    found = np.array(_find_row(json.loads(content)), np.float32)
    for version in (1, 2):
        if np.allclose(found, answer_of(version), rtol=1e-3, atol=1e-3):
            return f"version {version}"
    return "other"


def _find_row(value: Any) -> list[float]:
    """Return the first list of as many numbers as there are classes, however the server wraps it."""
    if isinstance(value, list) and len(value) == CLASSES and all(isinstance(each, float | int) for each in value):
        return value
    inner = value.values() if isinstance(value, dict) else value if isinstance(value, list) else ()
    return next((found for each in inner if (found := _find_row(each))), [])
