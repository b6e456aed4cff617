"""What each simulated client of a load test does: it asks a served model again and again; locust runs this file.

    locust -f infra/loadtest/users.py --host=grpc://localhost:8001 --model=my-model-onnx

`slipway loadtest` starts it so; by hand, all of locust's own options work, its pages and its workers among them.
"""

import atexit
import csv
import os
import sys
import time
from argparse import ArgumentParser
from itertools import cycle
from pathlib import Path
from typing import Any, ClassVar

import grpc.experimental.gevent as grpc_gevent
from locust import FastHttpUser, User, events, task
from locust.env import Environment
from locust.exception import StopUser
from locust.stats import PERCENTILES_TO_REPORT, StatsCSV

from blocks.errors import SlipwayError
from infra.loadtest.requests import Request, count_outputs, load_requests
from infra.prediction.endpoint import Endpoint, connect
from infra.prediction.served import Served

grpc_gevent.init_gevent()  # else one waiting client keeps all others waiting
_OPEN: list[Endpoint] = []  # closing a channel under gevent waits for itself for good: they end with the process


@events.init_command_line_parser.add_listener  # type: ignore[untyped-decorator]
def add_options(parser: ArgumentParser) -> None:
    """Let locust take what says which model is asked, and with what."""
    parser.add_argument("--model", required=True, help="name of the model in Triton")
    parser.add_argument("--model-version", default="", help="its version; by default the server chooses")
    parser.add_argument("--input", type=Path, help="a KServe request as JSON; made up if left out")
    parser.add_argument("--size", type=int, default=1, help="size of the axes that may have any, of what is made up")


@events.init.add_listener  # type: ignore[untyped-decorator]
def choose_client(environment: Environment, **_: Any) -> None:
    """Have the clients speak what the address says, and prepare what they send before the first is counted."""
    given, url = environment.parsed_options, str(environment.host)
    assert given is not None
    try:
        _OPEN.append(connect(url))
        served = _OPEN[-1].describe(given.model, given.model_version)
        requests = load_requests(served, given.input, given.size)
    except SlipwayError as error:
        sys.exit(f"{type(error).__name__}: {error}")
    kind = GrpcClient if url.startswith("grpc") else HttpClient
    kind.served, kind.requests, kind.model = served, requests, given.model
    environment.user_classes = [kind]
    if not url.startswith(("grpc", "http")):
        environment.host = f"http://{url}"


@events.quitting.add_listener  # type: ignore[untyped-decorator]
def end_with_open_channels(environment: Environment, **_: Any) -> None:
    """Let the process end at once, after locust has written everything; channels are left open."""

    def end(exit_code: int, **_: Any) -> None:
        atexit.register(_end, environment, exit_code)

    environment.events.quit.add_listener(end)  # type: ignore[no-untyped-call]


def _end(environment: Environment, exit_code: int) -> None:
    if environment.parsed_options and (prefix := environment.parsed_options.csv_prefix):
        _write_figures(environment, prefix)
    sys.stdout.flush()
    sys.stderr.flush()
    os._exit(exit_code)


def _write_figures(environment: Environment, prefix: str) -> None:
    """Write the figures once more: what locust writes of them by itself is up to a second older than the end."""
    figures = StatsCSV(environment, PERCENTILES_TO_REPORT)
    for name, write in (("stats", figures.requests_csv), ("failures", figures.failures_csv)):
        with Path(f"{prefix}_{name}.csv").open("w", newline="") as file:
            write(csv.writer(file))


class Client(User):
    """Holds what every client of a load test sends."""

    abstract = True
    served: ClassVar[Served]
    requests: ClassVar[list[Request]]
    model: ClassVar[str]

    def on_start(self) -> None:
        """Begin with the first request."""
        self.turns = cycle(self.requests)


class HttpClient(Client, FastHttpUser):
    """Sends KServe's JSON, as `curl -d @input.json` does, over a connection that is kept."""

    abstract = False

    @task
    def ask(self) -> None:
        """Send the next request; anything but an answer with every output counts as a failure."""
        version = f"/versions/{self.served.version}" if self.served.version else ""
        place, body = f"/v2/models/{self.model}{version}/infer", next(self.turns).text
        headers = {"Content-Type": "application/json"}
        with self.client.post(place, data=body, headers=headers, catch_response=True) as answer:
            if answer.status_code != 200:
                answer.failure(f"{answer.status_code}: {(answer.text or '')[:200]}")
            elif (found := count_outputs(answer.text or "")) != len(self.served.outputs):
                answer.failure(f"{found} outputs, expected {len(self.served.outputs)}")


class GrpcClient(Client):
    """Asks over gRPC, with a channel of its own."""

    abstract = False

    def on_start(self) -> None:
        """Open the channel."""
        super().on_start()
        self.endpoint: Endpoint = connect(str(self.host))
        _OPEN.append(self.endpoint)

    @task
    def ask(self) -> None:
        """Send the next request; any error counts as a failure."""
        begun, refusal, size = time.perf_counter(), None, 0
        try:
            answer = self.endpoint.infer(self.served, next(self.turns).inputs)
            size = sum(array.nbytes for array in answer.outputs.values())
        except StopUser:
            raise
        except Exception as error:  # noqa: BLE001
            refusal = error
        self.environment.events.request.fire(
            request_type="gRPC",
            name=self.model,
            response_time=(time.perf_counter() - begun) * 1000,
            response_length=size,
            exception=refusal,
            context={},
        )
