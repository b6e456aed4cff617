"""Transports that stand between a fleet and its replicas: they watch what is asked, hold it up or answer with a fault.

A test gives one to the fleet (`interfered`) or to everything that loads the environment while a block runs
(`interfering`). What a transport raises is treated as if the replica had: an `InferenceServerException` is translated
as Triton's own, anything else reaches the caller as it is.
"""

import functools
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from typing import Any, NamedTuple, cast

import tritonclient.grpc as triton
from tritonclient.utils import InferenceServerException

from blocks.environment import load_environment, using
from blocks.fleet import TritonFleet
from blocks.transport import Transport
from tests.apparatus.traffic import Window


class Request(NamedTuple):
    """One call of tritonclient's: which of its methods, about which model, None where about none."""

    address: str
    method: str
    model_name: str | None


Send = Callable[[], Any]
Interference = Callable[[Request, Send], Any]


class InterferingTransport:
    """A transport that hands every request, and the means to send it, to a function that answers in its place."""

    def __init__(self, transport: Transport, interfere: Interference) -> None:
        self._transport, self._interfere = transport, interfere

    @contextmanager
    def connect(self, address: str) -> Iterator[triton.InferenceServerClient]:
        """Lend a client that asks the function first."""
        with self._transport.connect(address) as client:
            yield cast(triton.InferenceServerClient, _InterferingClient(client, address, self._interfere))


class _InterferingClient:
    def __init__(self, client: triton.InferenceServerClient, address: str, interfere: Interference) -> None:
        self._client, self._address, self._interfere = client, address, interfere

    def __getattr__(self, method: str) -> Callable[..., Any]:
        def call(*args: Any, **kwargs: Any) -> Any:
            request = Request(self._address, method, args[0] if args else None)
            return self._interfere(request, functools.partial(getattr(self._client, method), *args, **kwargs))

        return call


def interfered(fleet: TritonFleet, interfere: Interference) -> TritonFleet:
    """Return a fleet whose every request is handed to a function."""
    return fleet.through(InterferingTransport(fleet.transport, interfere))


@contextmanager
def interfering(interfere: Interference) -> Iterator[None]:
    """Have whoever loads the environment while the block runs speak to its replicas through a function."""
    environment = load_environment()
    with using(replace(environment, fleet=interfered(environment.fleet, interfere))):
        yield


def failing(address: str, method: str, status: str, times: float = float("inf")) -> Interference:
    """Return what lets one replica answer its first calls of a method, all by default, with a gRPC status.

    `method` is tritonclient's: infer, load_model, unload_model, is_server_live, get_model_repository_index; "": any.
    """
    failed = 0

    def interfere(request: Request, send: Send) -> Any:
        nonlocal failed
        if request.address == address and method in {"", request.method} and failed < times:
            failed += 1
            raise InferenceServerException("injected", status=f"StatusCode.{status}")
        return send()

    return interfere


def timed_loads(windows: list[Window]) -> Interference:
    """Return what notes when each load that succeeded began and ended."""

    def interfere(request: Request, send: Send) -> Any:
        begin_s = time.time()
        answer = send()
        if request.method == "load_model":
            windows.append((begin_s, time.time()))
        return answer

    return interfere
