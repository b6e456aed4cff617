"""The event service under a thousand connections that ask for nothing: they are closed, and others are answered."""

import asyncio
import socket
import threading
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager

import httpx
import pytest
import uvicorn
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import PlainTextResponse
from starlette.routing import Route

from infra.events.patience import ImpatientProtocol
from infra.events.server import configure
from tests.apparatus.ports import free_port

HALF_OPEN = 400
BEGINNINGS = [b"", b"P", b"POST /slow HTTP/1.1\r\nHost: x\r\nContent-Le"]


async def slow(request: Request) -> PlainTextResponse:
    await asyncio.sleep(1)
    return PlainTextResponse(str(len(await request.body())))


@pytest.fixture
def address(monkeypatch: pytest.MonkeyPatch) -> Iterator[tuple[str, int]]:
    """An application served as the event service is, but for its patience of half a second."""
    monkeypatch.setattr(ImpatientProtocol, "headers_timeout_s", 0.5)
    with served(Starlette(routes=[Route("/slow", slow, methods=["GET", "POST"])])) as port:
        yield "127.0.0.1", port


@contextmanager
def served(app: Starlette) -> Iterator[int]:
    server = uvicorn.Server(configure(app, "127.0.0.1", port := free_port()))
    thread = threading.Thread(target=server.run, daemon=True)
    thread.start()
    try:
        while not server.started:
            assert thread.is_alive()
        yield port
    finally:
        server.should_exit = True
        thread.join(20)


@pytest.mark.parametrize("beginning", BEGINNINGS)
def test_a_request_that_does_not_begin_is_hung_up_on(address: tuple[str, int], beginning: bytes) -> None:
    with socket.create_connection(address, timeout=20) as connection:
        connection.sendall(beginning)

        assert connection.recv(100) == b""


def test_bytes_that_trickle_in_buy_no_time(address: tuple[str, int]) -> None:
    with socket.create_connection(address, timeout=20) as connection:
        connection.settimeout(0.1)
        ended = False
        for byte in BEGINNINGS[-1] * 10:  # 47 s of it, were it read
            try:
                connection.sendall(bytes([byte]))
                ended = connection.recv(100) == b""
            except TimeoutError:
                continue
            except OSError:
                ended = True
            if ended:
                break

    assert ended


def test_after_an_answer_a_byte_does_not_keep_the_connection(address: tuple[str, int]) -> None:
    with socket.create_connection(address, timeout=20) as connection:
        connection.sendall(b"GET /slow HTTP/1.1\r\nHost: x\r\n\r\n")
        answer = b""
        while not answer.endswith(b"\r\n\r\n0"):
            answer += connection.recv(1000)
        connection.sendall(b"G")

        assert answer.startswith(b"HTTP/1.1 200")
        assert connection.recv(100) == b""


def test_while_hundreds_ask_for_nothing_a_slow_request_is_answered_and_all_others_are_hung_up_on(
    address: tuple[str, int],
) -> None:
    with ExitStack() as stack:
        silent = [stack.enter_context(socket.create_connection(address, timeout=20)) for _ in range(HALF_OPEN)]
        for number, connection in enumerate(silent):
            connection.sendall(BEGINNINGS[number % len(BEGINNINGS)])

        answer = httpx.post(f"http://{address[0]}:{address[1]}/slow", content=trickled(), timeout=20, trust_env=False)

        assert (answer.status_code, answer.text) == (200, "6")
        assert all(is_hung_up_on(connection) for connection in silent)


def is_hung_up_on(connection: socket.socket) -> bool:
    """Tell whether a server ended a connection; what of a request it had not read makes a reset of that."""
    try:
        return connection.recv(100) == b""
    except ConnectionResetError:
        return True


def trickled() -> Iterator[bytes]:
    """Yield a body that takes longer than headers may."""
    for part in (b"ab", b"cd", b"ef"):
        yield part
        threading.Event().wait(0.3)
