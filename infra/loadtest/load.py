"""Asks a served model from many clients at once, by locust in a process of its own, and reads its figures."""

import csv
import importlib.util
import subprocess
import sys
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import NamedTuple

from pydantic import BaseModel, ConfigDict, Field

from blocks.errors import InvalidInput
from infra.errors import LoadTestError

USERS = Path(__file__).with_name("users.py")
ROOT = USERS.parents[2]
_START_S = 120.0  # for imports and the last answers


class Load(BaseModel):
    """Who is asked what, by how many, for how long."""

    model_config = ConfigDict(frozen=True, extra="forbid", protected_namespaces=())

    model: str
    url: str
    version: str = ""
    users: int = Field(10, ge=1, description="Clients that ask at once, each again when it has its answer.")
    rate: float = Field(5.0, gt=0, description="Clients that begin in a second.")
    duration_s: int = Field(60, ge=1)
    request: Path | None = None
    size: int = Field(1, ge=1)


class Figures(NamedTuple):
    """What came of a load test; times in milliseconds as clients see them, rounded by locust to two digits."""

    requests: int
    failures: int
    per_second: float
    p50_ms: float
    p95_ms: float
    p99_ms: float
    reasons: tuple[str, ...]  # of failures, with how often each

    def describe(self) -> str:
        """Return the figures in a line."""
        return (
            f"{self.requests} requests, {self.failures} failed, {self.per_second:.1f} a second, "
            f"p50 {self.p50_ms:g} ms, p95 {self.p95_ms:g} ms, p99 {self.p99_ms:g} ms"
        )


def run_load(load: Load, kept: Path | None = None) -> Figures:
    """Return what came of a load test; locust's CSV files go to a prefix where one is given.

    Raises `InvalidInput` without locust, `LoadTestError` where locust could not begin.
    """
    if importlib.util.find_spec("locust") is None:
        raise InvalidInput("locust is not installed, which makes the requests; uv sync --group loadtest")
    with TemporaryDirectory() as directory:
        prefix = kept or Path(directory, "load")
        for old in (name_statistics(prefix), name_failures(prefix)):
            old.unlink(missing_ok=True)
        ended = _run(load, prefix)
        if not name_statistics(prefix).exists() or (figures := read_figures(prefix)).requests == 0:
            lines = ended.strip().splitlines() or ["no output"]
            raise LoadTestError(f"model '{load.model}' at {load.url}: nothing was asked; locust says: {lines[-1]}")
        return figures


def _run(load: Load, prefix: Path) -> str:
    """Return what locust printed."""
    patience_s = load.duration_s + load.users / load.rate + _START_S
    command = make_command(load, prefix)
    try:
        return subprocess.run(  # noqa: S603
            command,
            cwd=ROOT,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            timeout=patience_s,
            check=False,
        ).stdout
    except subprocess.TimeoutExpired as error:
        raise LoadTestError(
            f"model '{load.model}' at {load.url}: locust did not end within {patience_s:.0f} s and was stopped; see "
            "whether the server answers at all"
        ) from error


def make_command(load: Load, prefix: Path) -> list[str]:
    """Return the command that runs locust without pages, its figures below a prefix."""
    given = {
        "locustfile": USERS,
        "host": load.url,
        "model": load.model,
        "model-version": load.version,
        "users": load.users,
        "spawn-rate": load.rate,
        "run-time": f"{load.duration_s}s",
        "stop-timeout": 30,  # answers that are under way are awaited
        "size": load.size,
        "csv": prefix.absolute(),
        "loglevel": "WARNING",
    }
    if load.request:
        given["input"] = load.request.absolute()
    options = [f"--{name}={value}" for name, value in given.items() if value != ""]
    return [sys.executable, "-m", "locust", "--headless", "--only-summary", *options]


def name_statistics(prefix: Path) -> Path:
    """Return where locust writes its figures."""
    return prefix.with_name(f"{prefix.name}_stats.csv")


def name_failures(prefix: Path) -> Path:
    """Return where locust writes why requests failed."""
    return prefix.with_name(f"{prefix.name}_failures.csv")


def read_figures(prefix: Path) -> Figures:
    """Return the figures that locust wrote below a prefix."""
    rows = list(csv.DictReader(name_statistics(prefix).read_text().splitlines()))
    total = next(row for row in rows if row["Name"] == "Aggregated")
    failures = csv.DictReader(name_failures(prefix).read_text().splitlines()) if name_failures(prefix).exists() else ()
    return Figures(
        requests=int(total["Request Count"]),
        failures=int(total["Failure Count"]),
        per_second=_read_number(total["Requests/s"]),
        p50_ms=_read_number(total["50%"]),
        p95_ms=_read_number(total["95%"]),
        p99_ms=_read_number(total["99%"]),
        reasons=tuple(f"{row['Occurrences']} x {row['Error']}" for row in failures),
    )


def _read_number(text: str) -> float:
    return 0.0 if text in {"", "N/A"} else float(text)
