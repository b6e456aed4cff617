"""Constant load on every replica, as clients make it: unversioned, over gRPC and HTTP, from a process of its own."""

import http.client
import json
import multiprocessing
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from multiprocessing.connection import Connection
from typing import NamedTuple

import numpy as np
import tritonclient.grpc as triton
from tritonclient.utils import InferenceServerException

from tests.apparatus.models import FEATURES

REQUESTS_PER_S = 20.0
TIMEOUT_S = 10.0
INPUT = np.ones((1, FEATURES), np.float32)
_RECONNECTING_AT_ONCE = [(f"grpc.{which}_reconnect_backoff_ms", 50) for which in ("initial", "min", "max")]
Window = tuple[float, float]  # its start and end, in seconds since the epoch
Answer = tuple[int, tuple[float, ...]]  # the version that answered, and what


class Request(NamedTuple):
    """One request and what came of it."""

    address: str
    at_s: float  # since the epoch
    latency_ms: float
    version: int | None
    output: tuple[float, ...]
    error: str | None

    def overlaps(self, windows: Iterable[Window]) -> bool:
        """Tell whether it was under way in one of these windows."""
        end_s = self.at_s + self.latency_ms / 1000
        return any(self.at_s <= end and end_s >= start for start, end in windows)


class Traffic:
    """What came of the load; complete when the load has ended."""

    def __init__(self) -> None:
        self.requests: list[Request] = []

    @property
    def failures(self) -> list[Request]:
        """The requests that got no answer, or an error."""
        return [request for request in self.requests if request.error is not None]

    @property
    def answered_by(self) -> Counter[int]:
        """How many requests each version answered."""
        return Counter(request.version for request in self.requests if request.version is not None)

    def outputs_of(self, version: int) -> set[tuple[float, ...]]:
        """The different outputs a version gave; the inputs are always the same."""
        return {request.output for request in self.requests if request.version == version}

    def percentile_ms(
        self, percent: float, within: list[Window] | None = None, without: list[Window] | None = None
    ) -> float:
        """Return a percentile of the answered requests' latencies, within some windows of time or outside of them."""
        chosen = [
            request.latency_ms
            for request in self.requests
            if request.error is None
            and (within is None or request.overlaps(within))
            and (without is None or not request.overlaps(without))
        ]
        return float(np.percentile(chosen, percent)) if chosen else float("nan")

    def summary(self, switches: list[Window]) -> str:
        """Return the figures in two lines."""

        def p50_p99(**windows: list[Window]) -> str:
            return f"p50 {self.percentile_ms(50, **windows):.1f} ms, p99 {self.percentile_ms(99, **windows):.1f} ms"

        during = sum(request.overlaps(switches) for request in self.requests)
        return (
            f"{len(self.requests)} requests, {len(self.failures)} failed; {p50_p99()}\n"
            f"{during} of them during {len(switches)} switches: {p50_p99(within=switches)}; "
            f"outside: {p50_p99(without=switches)}"
        )


@contextmanager
def constant_load(model_name: str, grpc_addresses: Iterable[str], http_urls: Iterable[str]) -> Iterator[Traffic]:
    """Send a fixed number of requests a second to every address until the block ends; the traffic is complete then.

    The block begins when every address has answered once; a client that has yet to connect is none of the traffic.
    """
    processes = multiprocessing.get_context("forkserver")
    ours, theirs = processes.Pipe()
    arguments = (model_name, tuple(grpc_addresses), tuple(http_urls), theirs)
    process = processes.Process(target=_generate, args=arguments, daemon=True)
    process.start()
    theirs.close()
    traffic = Traffic()
    try:
        assert ours.recv() == "answered"
        yield traffic
        ours.send("stop")
        traffic.requests = ours.recv()
        process.join(TIMEOUT_S)
    finally:
        process.kill()
        process.join()


def _generate(model_name: str, grpc_addresses: tuple[str, ...], http_urls: tuple[str, ...], parent: Connection) -> None:
    streams = [_Stream(address, _grpc_asker(address, model_name)) for address in grpc_addresses]
    streams += [_Stream(url, _http_asker(url, model_name)) for url in http_urls]
    for stream in streams:
        stream.start()
    for stream in streams:
        stream.answered.wait()
    parent.send("answered")
    parent.recv()
    for stream in streams:
        stream.ended.set()
    for stream in streams:
        stream.join()
    parent.send(sorted((request for stream in streams for request in stream.requests), key=lambda r: r.at_s))


class _Stream(threading.Thread):
    """One client, which asks at a fixed rate and as soon as it can when it is late."""

    def __init__(self, address: str, ask: Callable[[], Answer]) -> None:
        super().__init__(daemon=True)
        self._address, self._ask = address, ask
        self.requests: list[Request] = []
        self.answered, self.ended = threading.Event(), threading.Event()

    def run(self) -> None:
        due = time.monotonic()
        while not self.ended.wait(max(0.0, due - time.monotonic())):
            due = max(due + 1 / REQUESTS_PER_S, time.monotonic())
            request = self._timed()
            if request.error is None:
                self.answered.set()
            if self.answered.is_set():
                self.requests.append(request)

    def _timed(self) -> Request:
        at_s, start = time.time(), time.perf_counter()
        version: int | None = None
        output: tuple[float, ...] = ()
        error = None
        try:
            version, output = self._ask()
        except (InferenceServerException, OSError, http.client.HTTPException, ValueError, KeyError) as failure:
            error = f"{type(failure).__name__}: {failure}"
        return Request(self._address, at_s, (time.perf_counter() - start) * 1000, version, output, error)


def _grpc_asker(address: str, model_name: str) -> Callable[[], Answer]:
    client = triton.InferenceServerClient(address, channel_args=_RECONNECTING_AT_ONCE)
    tensor = triton.InferInput("input", list(INPUT.shape), "FP32")
    tensor.set_data_from_numpy(INPUT)

    def ask() -> Answer:
        result = client.infer(model_name, [tensor], client_timeout=TIMEOUT_S)
        return int(result.get_response().model_version), _rounded(result.as_numpy("output")[0])

    return ask


def _http_asker(url: str, model_name: str) -> Callable[[], Answer]:
    connection = http.client.HTTPConnection(url.removeprefix("http://"), timeout=TIMEOUT_S)
    tensor = {"name": "input", "shape": INPUT.shape, "datatype": "FP32", "data": INPUT.ravel().tolist()}
    body = json.dumps({"inputs": [tensor]})

    def ask() -> Answer:
        try:
            connection.request("POST", f"/v2/models/{model_name}/infer", body)
            response = connection.getresponse()
            content = response.read()
        except (OSError, http.client.HTTPException):
            connection.close()  # the next request connects anew
            raise
        if response.status != http.client.OK:
            raise ValueError(f"{response.status} {content.decode(errors='replace')[:200]}")
        answer = json.loads(content)
        return int(answer["model_version"]), _rounded(answer["outputs"][0]["data"])

    return ask


def _rounded(values: Iterable[float]) -> tuple[float, ...]:
    return tuple(round(float(value), 3) for value in values)
