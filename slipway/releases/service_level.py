"""Gate 3, the service level: candidate and live version asked in turn on the same replica, so that noise cancels."""

import threading
import time
from collections.abc import Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager, suppress
from itertools import chain, cycle, islice
from typing import Annotated, NamedTuple

import numpy as np
from pydantic import BaseModel, ConfigDict, Field

from blocks.errors import ServiceLevelMissed, SlipwayError
from blocks.fleet import Tensors
from slipway.releases.proof import Proof, Question

_ROUNDS = 4
_PAUSE_S = 0.02

Limit = Annotated[float | None, Field(gt=0)]


class ServiceLevel(BaseModel):
    """Limits a candidate has to keep before it gets traffic; those left out are not applied."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    max_p99_ms: Limit = Field(default=None, description="Longest p99 latency of one request, in milliseconds.")
    max_p99_ratio: Limit = Field(default=None, description="Longest p99 latency, as a multiple of the live version's.")
    min_throughput_per_s: Limit = Field(default=None, description="Fewest requests a second, four at a time.")
    max_memory_mib: Limit = Field(default=None, description="Most memory loading the candidate may take, in MiB.")
    requests: int = Field(default=100, ge=20, le=10_000, description="Requests that measure the latency of each.")
    concurrency: int = Field(default=4, ge=1, le=64, description="Requests in flight while throughput is measured.")


class Latency(BaseModel):
    """Latencies of requests sent one after the other, in milliseconds."""

    model_config = ConfigDict(frozen=True, extra="ignore")

    requests: int
    p50_ms: float
    p99_ms: float

    @classmethod
    def of(cls, elapsed_ms: list[float]) -> "Latency":
        """Summarise what was measured."""
        p50, p99 = np.percentile(elapsed_ms, (50, 99))
        return cls(requests=len(elapsed_ms), p50_ms=float(p50), p99_ms=float(p99))


class MeasuredServiceLevel(BaseModel):
    """What gate 3 measured."""

    model_config = ConfigDict(frozen=True, extra="ignore")

    candidate: Latency
    live: Latency | None = Field(description="None where nothing was live.")
    candidate_throughput_per_s: float
    live_throughput_per_s: float | None
    memory_mib: float | None = Field(
        default=None, description="Growth of the replica's used memory, None where not asked for."
    )


class Requests(NamedTuple):
    """What is asked: the inputs of each request and the outputs wanted."""

    inputs: list[Tensors]
    outputs: list[str]

    @classmethod
    def of(cls, proof: Proof, count: int) -> "Requests":
        """Return the first request of a proof, so many times."""
        return cls([proof.exchanges[0].inputs] * count, proof.outputs)


def measure(
    level: ServiceLevel, candidate: Question, live: Question | None, samples: Requests, memory_mib: float | None
) -> MeasuredServiceLevel:
    """Measure a candidate, and the live version beside it in turn."""
    contenders = [asked for asked in (candidate, live) if asked is not None]
    elapsed: dict[str, list[float]] = {asked.name: [] for asked in contenders}
    rates: dict[str, list[float]] = {asked.name: [] for asked in contenders}
    batches = list(islice(cycle(samples.inputs), max(5, level.requests // _ROUNDS)))
    for turn in range(_ROUNDS):
        for asked in contenders if turn % 2 else reversed(contenders):
            elapsed[asked.name] += time_requests(asked, batches, samples.outputs)
            rates[asked.name].append(_measure_throughput(asked, batches, samples.outputs, level.concurrency))
    return MeasuredServiceLevel(
        candidate=Latency.of(elapsed[candidate.name]),
        live=Latency.of(elapsed[live.name]) if live else None,
        candidate_throughput_per_s=float(np.median(rates[candidate.name])),
        live_throughput_per_s=float(np.median(rates[live.name])) if live else None,
        memory_mib=memory_mib,
    )


def check(level: ServiceLevel, found: MeasuredServiceLevel, subject: str) -> None:
    """Raise `ServiceLevelMissed`, naming every limit that is missed."""
    p99_ms, rate = found.candidate.p99_ms, found.candidate_throughput_per_s
    missed = []
    if level.max_p99_ms is not None and p99_ms > level.max_p99_ms:
        missed.append(f"p99 {p99_ms:.1f} ms > {level.max_p99_ms:g} ms allowed")
    if level.max_p99_ratio is not None and found.live and p99_ms > level.max_p99_ratio * found.live.p99_ms:
        ratio = p99_ms / found.live.p99_ms
        missed.append(f"p99 {p99_ms:.1f} ms is {ratio:.2f} times the live version's, {level.max_p99_ratio:g} allowed")
    if level.min_throughput_per_s is not None and rate < level.min_throughput_per_s:
        missed.append(f"{rate:.0f} requests/s < {level.min_throughput_per_s:g} requests/s demanded")
    if level.max_memory_mib is not None and found.memory_mib is not None and found.memory_mib > level.max_memory_mib:
        missed.append(f"memory {found.memory_mib:.0f} MiB > {level.max_memory_mib:g} MiB allowed")
    if missed:
        raise ServiceLevelMissed(f"{subject}: gate 3 failed, {'; '.join(missed)}; the live version stays")


def time_requests(asked: Question, batches: Iterable[Tensors], outputs: list[str]) -> list[float]:
    """Return the milliseconds each request took, sent one after the other over one connection."""
    return [answer.elapsed_ms for answer in asked.ask(batches, outputs)]


@contextmanager
def watching(live: Question | None, requests: Requests) -> Iterator[list[float]]:
    """Ask the live version all the while; the list yielded has the milliseconds each request took in the end."""
    found: list[float] = []
    if live is None:
        yield found
        return
    ended = threading.Event()

    def ask(live: Question) -> None:
        # What the live version does is its own affair: the candidate's proof says what matters.
        with suppress(SlipwayError):
            found.extend(time_requests(live, _pace(requests.inputs, ended), requests.outputs))

    with ThreadPoolExecutor(1) as pool:
        asking = pool.submit(ask, live)
        try:
            yield found
        finally:
            ended.set()
            asking.result()


def _pace(inputs: list[Tensors], ended: threading.Event) -> Iterator[Tensors]:
    for batch in cycle(inputs):
        if ended.wait(_PAUSE_S):
            return
        yield batch


def _measure_throughput(asked: Question, batches: list[Tensors], outputs: list[str], concurrency: int) -> float:
    shares = [batches[start::concurrency] for start in range(concurrency)]
    start = time.perf_counter()
    with ThreadPoolExecutor(concurrency) as pool:
        answered = list(chain.from_iterable(pool.map(lambda share: time_requests(asked, share, outputs), shares)))
    return len(answered) / (time.perf_counter() - start)
