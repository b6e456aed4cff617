"""Servers that inject a fault: one that never answers, one that always fails, a proxy that chooses its victims."""

import http.server
import socket
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, replace
from http.client import HTTPConnection, HTTPException
from typing import Any, cast
from urllib.parse import urlsplit

from prefect_aws.client_parameters import AwsClientParameters
from prefect_aws.credentials import AwsCredentials

from blocks.environment import Environment

BLOCK_BYTES = 16 * 1024
UPSTREAM_TIMEOUT_S = 60
_OF_ONE_HOP = {"connection", "keep-alive", "transfer-encoding", "expect"}


@contextmanager
def silent_server() -> Iterator[str]:
    """Yield the URL of a server that accepts connections and says nothing."""
    with socket.create_server(("127.0.0.1", 0)) as listener:
        yield f"http://127.0.0.1:{listener.getsockname()[1]}"


@contextmanager
def failing_server(status: int) -> Iterator[str]:
    """Yield the URL of a server that answers every request with one status."""

    class Handler(http.server.BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            self.send_response(status)
            self.send_header("Content-Length", "0")
            self.end_headers()

        do_POST = do_PUT = do_HEAD = do_PATCH = do_DELETE = do_GET  # noqa: N815

        def log_message(self, format: str, *args: object) -> None: ...  # noqa: A002

    with _served(Handler) as url:
        yield url


@contextmanager
def answering_server(body: bytes) -> Iterator[str]:
    """Yield the URL of a server that answers every GET with the same body."""

    class Handler(http.server.BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            self.send_response(200)
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, format: str, *args: object) -> None: ...  # noqa: A002

    with _served(Handler) as url:
        yield url


@dataclass
class Fault:
    """What happens to requests of one method whose target contains `path`: those after the first `skip`, `times` times.

    Without any of `status`, `cut_after_bytes`, `bytes_per_s`, `answered_bytes` and `delay_s` the connection is closed
    and nothing answered.
    """

    method: str = ""  # any
    path: str = ""
    skip: int = 0
    every: int = 1
    times: float = float("inf")
    then_all: bool = False  # from the first one on, every request whatever it asks for
    status: int | None = None  # answered without asking the server
    cut_after_bytes: int | None = None  # of the request's body, then the connection is closed
    bytes_per_s: float | None = None  # of the request's body; the request arrives
    answered_bytes: int | None = None  # of the answer's body, then the connection is closed
    delay_s: float | None = None  # from the server's answer to its passing on
    matches: int = 0
    hits: int = 0

    def strikes(self, method: str, target: str) -> bool:
        """Tell whether this request is one of those."""
        if not (self.then_all and self.hits):
            if self.method not in {"", method} or self.path not in target:
                return False
            self.matches += 1
            if self.matches <= self.skip or self.matches % self.every or self.hits >= self.times:
                return False
        self.hits += 1
        return True


class FaultyProxy:
    """A reverse proxy before one server. `faults` may be changed at any time; without them it only passes on."""

    def __init__(self, url: str, server_url: str) -> None:
        self.url, self.server_url = url, server_url
        self.faults: list[Fault] = []
        self._lock = threading.Lock()

    def fault(self, method: str, target: str) -> Fault | None:
        """Return the fault that strikes this request, if any."""
        with self._lock:
            return next((fault for fault in self.faults if fault.strikes(method, target)), None)


@contextmanager
def faulty_proxy(server_url: str, *faults: Fault) -> Iterator[FaultyProxy]:
    """Yield a proxy before a server; the Host header, which S3's signatures cover, arrives as it was sent."""

    class Handler(_PassingOn):
        pass

    with _served(Handler) as url:
        Handler.proxy = FaultyProxy(url, server_url)
        Handler.proxy.faults = list(faults)
        yield Handler.proxy


def through_s3_proxy(environment: Environment, proxy: FaultyProxy) -> Environment:
    """Return the environment with the model repository reached through a proxy."""
    bucket = environment.repository.bucket
    assert bucket is not None
    credentials = cast(AwsCredentials, bucket.credentials)
    parameters = credentials.aws_client_parameters.model_dump() | {"endpoint_url": proxy.url}
    detour = credentials.model_copy(update={"aws_client_parameters": AwsClientParameters(**parameters)})
    fields = {name: getattr(environment.repository, name) for name in type(environment.repository).model_fields}
    repository = type(environment.repository)(**fields | {"bucket": bucket.model_copy(update={"credentials": detour})})
    return replace(environment, repository=repository)


def through_mlflow_proxy(environment: Environment, proxy: FaultyProxy) -> Environment:
    """Return the environment with the registry reached through a proxy."""
    registry = environment.registry.model_copy(update={"tracking_uri": proxy.url})
    return replace(environment, registry=registry)


@contextmanager
def _served(handler: type[http.server.BaseHTTPRequestHandler]) -> Iterator[str]:
    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), handler)
    server.daemon_threads = True
    threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.05}, daemon=True).start()
    try:
        yield f"http://127.0.0.1:{server.server_address[1]}"
    finally:
        server.shutdown()
        server.server_close()


class _PassingOn(http.server.BaseHTTPRequestHandler):
    """One client connection: each request is streamed to the server and its answer back, block by block."""

    protocol_version = "HTTP/1.1"
    proxy: FaultyProxy

    def do_GET(self) -> None:
        fault = self.proxy.fault(self.command, self.path)
        with suppress(OSError, HTTPException):  # either side may go at any time; the other sees its connection end
            if fault is None or fault.bytes_per_s is not None:
                self._pass_on(self._body(fault.bytes_per_s if fault else None))
                return
            if self._strike(fault):
                return
        self.close_connection = True

    do_POST = do_PUT = do_HEAD = do_PATCH = do_DELETE = do_GET  # noqa: N815

    def log_message(self, format: str, *args: object) -> None: ...  # noqa: A002

    def _strike(self, fault: Fault) -> bool:
        """Do what the fault says; return whether the connection stays open."""
        if fault.status is not None:
            for _ in self._body():
                pass
            self.send_response(fault.status)
            self.send_header("Content-Length", "0")
            self.end_headers()
        elif fault.cut_after_bytes is not None:
            self._pass_on(self._body(cut_after_bytes=fault.cut_after_bytes))
        elif fault.answered_bytes is not None:
            self._pass_on(self._body(), fault.answered_bytes)
        elif fault.delay_s is not None:
            self._pass_on(self._body(), delay_s=fault.delay_s)
        return fault.status is not None or fault.delay_s is not None

    def _body(self, bytes_per_s: float | None = None, cut_after_bytes: int | None = None) -> Iterator[bytes]:
        passed_bytes = 0
        for block in self._blocks():
            passed_bytes += len(block)
            if cut_after_bytes is not None and passed_bytes > cut_after_bytes:
                raise ConnectionAbortedError
            if bytes_per_s is not None:
                time.sleep(len(block) / bytes_per_s)
            yield block

    def _blocks(self) -> Iterator[bytes]:
        if self.headers.get("Transfer-Encoding", "").lower() == "chunked":
            while size := int(self.rfile.readline().split(b";")[0], 16):
                yield self.rfile.read(size)
                self.rfile.readline()
            while self.rfile.readline().strip():
                pass  # trailers
            return
        left = int(self.headers.get("Content-Length", 0))
        while left and (block := self.rfile.read(min(left, BLOCK_BYTES))):
            left -= len(block)
            yield block

    def _pass_on(self, body: Iterator[bytes], answered_bytes: int | None = None, delay_s: float = 0) -> None:
        server = HTTPConnection(urlsplit(self.proxy.server_url).netloc, timeout=UPSTREAM_TIMEOUT_S)
        try:
            server.putrequest(self.command, self.path, skip_host=True, skip_accept_encoding=True)
            for name, value in self.headers.items():
                if name.lower() not in _OF_ONE_HOP:
                    server.putheader(name, value)
            chunked = "Transfer-Encoding" in self.headers
            if chunked:
                server.putheader("Transfer-Encoding", "chunked")
            server.endheaders()
            for block in body:
                server.send(b"%x\r\n%b\r\n" % (len(block), block) if chunked else block)
            if chunked:
                server.send(b"0\r\n\r\n")
            response = server.getresponse()
            time.sleep(delay_s)
            self._answer(response, answered_bytes)
        finally:
            server.close()

    def _answer(self, response: Any, answered_bytes: int | None) -> None:
        self.send_response_only(response.status, response.reason)
        has_length = response.headers.get("Content-Length") is not None
        for name, value in response.headers.items():
            if name.lower() not in _OF_ONE_HOP:
                self.send_header(name, value)
        if not has_length:
            self.send_header("Connection", "close")
            self.close_connection = True
        self.end_headers()
        if answered_bytes is not None:
            self.wfile.write(response.read(answered_bytes))
            return
        while self.command != "HEAD" and (block := response.read(BLOCK_BYTES)):
            self.wfile.write(block)
