"""The process that asks one server from several clients at once, each again as soon as it has its answer.

It is a program of its own, started by `load_generator.py`, and imports gRPC alone, so that it takes little of the cores
that the server needs. Requests are the bytes of messages that were made before; answers are not read. A line of JSON on
its input says how many clients ask for how long, a line of JSON on its output what came of it.
"""

import asyncio
import json
import statistics
import sys
import time
from itertools import cycle, islice
from pathlib import Path
from typing import Any

import grpc

METHOD = "/inference.GRPCInferenceService/ModelInfer"
CLIENTS_A_CONNECTION = 4
OPTIONS = (
    ("grpc.max_send_message_length", -1),
    ("grpc.max_receive_message_length", -1),
    ("grpc.use_local_subchannel_pool", 1),
)


class Load:
    """Several clients that ask for a while, and how long their answers took."""

    def __init__(self, requests: list[bytes], timeout_s: float) -> None:
        self.requests, self.timeout_s = requests, timeout_s
        self.elapsed_ms: list[float] = []
        self.failures: list[str] = []
        self.since = self.until = 0.0
        self.last = 0.0  # when the last answer that counts was there, and before it the last that does not

    async def run(self, channels: list[Any], clients: int, warm_s: float, seconds: float, least: int) -> dict[str, Any]:
        """Return what came of it: `seconds` of it, four times as many at most, until `least` answers were there."""
        calls = [channel.unary_unary(METHOD) for channel in channels]
        self.since = first = time.perf_counter() + warm_s
        self.until = self.since + 4 * seconds
        asking = [
            asyncio.create_task(self._ask(call, number)) for number, call in enumerate(islice(cycle(calls), clients))
        ]
        await asyncio.sleep(warm_s)
        used, first = time.process_time(), self.last or first
        await asyncio.sleep(seconds)
        while time.perf_counter() < self.until and len(self.elapsed_ms) < least and not self.failures:
            await asyncio.sleep(0.05)
        self.until = time.perf_counter()
        lasted, used = self.until - self.since, time.process_time() - used
        await asyncio.gather(*asking)
        return {
            "clients": clients,
            "requests": len(self.elapsed_ms),
            "per_second": len(self.elapsed_ms) / (self.last - first) if self.elapsed_ms else 0.0,
            **summarise(self.elapsed_ms),
            "load_cpu": used / lasted,
            "failures": len(self.failures),
            "reason": self.failures[0] if self.failures else "",
        }

    async def _ask(self, call: Any, number: int) -> None:
        """Ask again and again; what is answered before the time counts, or after it, is not counted."""
        for request in islice(cycle(self.requests), number, None):
            begun = time.perf_counter()
            if begun >= self.until:
                return
            try:
                await call(request, timeout=self.timeout_s)
            except grpc.aio.AioRpcError as error:
                self.failures.append(f"{error.code().name}: {error.details()}"[:500])
                return
            ended = time.perf_counter()
            if ended < self.until:
                self.last = ended
            if self.since <= ended < self.until:
                self.elapsed_ms.append((ended - begun) * 1000)


def summarise(elapsed_ms: list[float]) -> dict[str, float]:
    """Return the median and the 99th percentile."""
    if len(elapsed_ms) < 2:
        return {"p50_ms": sum(elapsed_ms), "p99_ms": sum(elapsed_ms)}
    parts = statistics.quantiles(elapsed_ms, n=100, method="inclusive")
    return {"p50_ms": parts[49], "p99_ms": parts[98]}


def read_messages(path: Path) -> list[bytes]:
    """Return the messages of a file, each with its length before it."""
    content, messages, at = path.read_bytes(), [], 0
    while at < len(content):
        size = int.from_bytes(content[at : at + 8], "big")
        messages.append(content[at + 8 : at + 8 + size])
        at += 8 + size
    return messages


def make_channel(place: dict[str, Any]) -> Any:
    """Return a connection to the server, encrypted where certificates are given."""
    options = [*OPTIONS, *map(tuple, place["options"])]
    if place["tls"] is None:
        return grpc.aio.insecure_channel(place["address"], options)
    parts = (text.encode() if text else None for text in place["tls"])
    return grpc.aio.secure_channel(place["address"], grpc.ssl_channel_credentials(*parts), options)


async def serve() -> None:
    """Carry out one line after the other, the first of which says where the server is and what it is asked."""
    place = json.loads(sys.stdin.readline())
    requests = read_messages(Path(place["requests"]))
    channels: list[Any] = []
    while line := await asyncio.to_thread(sys.stdin.readline):
        asked = json.loads(line)
        while len(channels) * CLIENTS_A_CONNECTION < asked["clients"]:
            channels.append(make_channel(place))
        found = await Load(requests, place["timeout_s"]).run(channels, **asked)
        print(json.dumps(found), flush=True)  # noqa: T201


if __name__ == "__main__":
    asyncio.run(serve())
