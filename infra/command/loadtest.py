"""`slipway loadtest`: ask a served model from many clients at once, and show how fast it answers."""

import os
from pathlib import Path

from infra.command.screen import console
from infra.errors import LoadTestError
from infra.loadtest.annotations import annotated
from infra.loadtest.load import Load, run_load
from infra.prediction.endpoint import DEFAULT_URL, connect

_SHOWN_REASONS = 3


def loadtest(
    model: str,
    /,
    *,
    url: str | None = None,
    version: str = "",
    users: int = 10,
    rate: float = 5.0,
    duration_s: int = 60,
    input: Path | None = None,  # noqa: A002
    size: int = 1,
    csv: Path | None = None,
) -> None:
    """Ask a served model from many clients at once for a while; a request that fails ends the command with 1.

    Parameters
    ----------
    model
        Name of the model in Triton.
    url
        The server: host:port, http://host:port or grpc://host:port; by default TRITON_URL, else localhost:8000.
    version
        Its version in Triton; by default the server chooses.
    users
        Clients that ask at once, each again when it has its answer.
    rate
        Clients that begin in a second.
    duration_s
        Seconds until no more is asked.
    input
        A KServe request as JSON; by default 16 different ones are made up.
    size
        Size of the axes that may have any, of what is made up.
    csv
        First part of the names of locust's CSV files, to keep them.
    """
    place = url or os.environ.get("TRITON_URL") or DEFAULT_URL
    load = Load(
        model=model, url=place, version=version, users=users, rate=rate, duration_s=duration_s, request=input, size=size
    )
    connect(place).describe(model, version)  # what is not served is said before anything is marked
    console.print(f"{users} clients ask {model} at {place} for {duration_s} s")
    with annotated(model, f"load test of {model}: {users} clients") as finish:
        figures = run_load(load, csv)
        finish(f"load test of {model}: {users} clients, {figures.describe()}")
    console.print(figures.describe())
    if figures.failures:
        shown = "; ".join(figures.reasons[:_SHOWN_REASONS])
        raise LoadTestError(
            f"model '{model}' at {place}: {figures.failures} of {figures.requests} requests failed ({shown}); see the "
            "server's log, or ask with fewer clients"
        )
