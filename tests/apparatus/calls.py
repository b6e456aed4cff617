"""The requests that this process sends to each server while a block runs, counted where they leave it.

MLflow and S3 are counted at urllib3, which both requests and botocore send by, repetitions included; Prefect at httpx;
Triton call by call at the fleet's transport, where one conversation may ask several times.
"""

import threading
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import httpx
import pytest
import urllib3

from infra.local.settings import LocalStack
from tests.apparatus.transports import Request, Send, interfering

SERVERS = ("MLflow", "S3", "Triton", "Prefect")


class Calls:
    """How many requests went to each server, by what each of them was."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self.by_kind: dict[str, Counter[str]] = {server: Counter() for server in SERVERS}

    def __getitem__(self, server: str) -> int:
        return self.by_kind[server].total()

    @property
    def total(self) -> dict[str, int]:
        """The number of requests by server."""
        return {server: self[server] for server in SERVERS}

    def count(self, server: str | None, kind: str) -> None:
        """Count a request; one to a server that is none of them is passed over."""
        if server is not None:
            with self._lock:
                self.by_kind[server][kind] += 1

    def describe(self) -> str:
        """Return each server's requests, the most frequent first, a line a server."""
        return "\n".join(
            f"{server} {self[server]}: {', '.join(f'{number} {kind}' for kind, number in kinds.most_common())}"
            for server, kinds in self.by_kind.items()
        )


@contextmanager
def counted_calls(stack: LocalStack) -> Iterator[Calls]:
    """Count until the block ends what this process asks the servers of a stack."""
    calls, server_of = Calls(), {stack.mlflow_port: "MLflow", stack.s3_port: "S3", stack.prefect_port: "Prefect"}

    def note(request: Request, send: Send) -> Any:
        calls.count("Triton", request.method)
        return send()

    with pytest.MonkeyPatch.context() as patching, interfering(note):
        _count_urllib3(patching, calls, server_of)
        _count_httpx(patching, calls, server_of)
        yield calls


def _count_urllib3(patching: pytest.MonkeyPatch, calls: Calls, server_of: dict[int, str]) -> None:
    send = urllib3.connectionpool.HTTPConnectionPool._make_request

    def make_request(self: Any, connection: Any, method: str, url: str, *args: Any, **kwargs: Any) -> Any:
        calls.count(server_of.get(self.port), f"{method} {url.partition('?')[0]}")
        return send(self, connection, method, url, *args, **kwargs)

    patching.setattr(urllib3.connectionpool.HTTPConnectionPool, "_make_request", make_request)


def _count_httpx(patching: pytest.MonkeyPatch, calls: Calls, server_of: dict[int, str]) -> None:
    send, send_async = httpx.HTTPTransport.handle_request, httpx.AsyncHTTPTransport.handle_async_request

    def handle(self: Any, request: httpx.Request) -> httpx.Response:
        calls.count(server_of.get(request.url.port or 0), f"{request.method} {request.url.path}")
        return send(self, request)

    async def handle_async(self: Any, request: httpx.Request) -> httpx.Response:
        calls.count(server_of.get(request.url.port or 0), f"{request.method} {request.url.path}")
        return await send_async(self, request)

    patching.setattr(httpx.HTTPTransport, "handle_request", handle)
    patching.setattr(httpx.AsyncHTTPTransport, "handle_async_request", handle_async)
