"""How long Prefect takes for fifty alias updates at once, on SQLite as the local stack has it, and on Postgres.

Each update is an event, which the trigger of prefect.yaml makes a run of deploy-model; eight clients then take the runs
through their states, as the processes of a worker do. Nothing is released: what is timed is Prefect and its database.
Where Postgres is not installed, a line says so.
"""

import time
from collections import Counter
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, NamedTuple
from uuid import UUID, uuid4

import httpx
import numpy as np
import pytest
import yaml
from prefect.client.orchestration import SyncPrefectClient
from prefect.client.schemas.objects import FlowRun
from prefect.events.schemas.deployment_triggers import DeploymentEventTrigger
from rich.console import Console
from rich.table import Table

from blocks.events import make_alias_event
from infra.local.settings import ROOT
from tests.apparatus.prefect_servers import has_postgres, postgres_server, prefect_server
from tests.benchmarks.size import Size
from tests.conftest import free_ports

UPDATES, CLIENTS, LIMIT_S = 50, 8, 60.0
TIMEOUT_S = 30.0  # of Prefect's own client, too
STATES = ("PENDING", "RUNNING", "COMPLETED")
pytestmark = pytest.mark.benchmark


class Taken(NamedTuple):
    """What one database took."""

    told_s: float
    queued_s: float
    ended_s: float
    requests_ms: list[float]
    repeated: int


class Ended(NamedTuple):
    """What one run's requests took, and how many of them were repeated, for no answer in time or a busy database."""

    requests_ms: list[float]
    repeated: int


@pytest.mark.timeout(900)
def test_50_alias_updates_at_once_are_all_queued_once_whichever_database_prefect_has(
    tmp_path: Path, size: Size
) -> None:
    updates, taken = size.choose(UPDATES, 8), {}
    for name, api in _start_each(tmp_path):
        taken[name] = _take(api, updates)

    table = Table("", *taken, title=f"{updates} alias updates at once")
    table.add_row("told, s", *(f"{of.told_s:.2f}" for of in taken.values()))
    table.add_row("each queued as a run, s", *(f"{of.queued_s:.2f}" for of in taken.values()))
    table.add_row("runs taken to their ends, s", *(f"{of.ended_s:.2f}" for of in taken.values()))
    for label, percent in (("p50", 50), ("p99", 99)):
        figures = (f"{np.percentile(of.requests_ms, percent):.0f}" for of in taken.values())
        table.add_row(f"a request of those, {label} ms", *figures)
    table.add_row("requests repeated", *(f"{of.repeated}" for of in taken.values()))
    Console(width=100).print("\n", table)
    assert max(of.queued_s for of in taken.values()) <= size.most(LIMIT_S)


def _start_each(directory: Path) -> Iterator[tuple[str, str]]:
    """Start a Prefect server on each database there is, one after the other; yield its name and address."""
    port, of_postgres = free_ports(2)
    with prefect_server(directory / "sqlite", port) as api:
        yield "SQLite", api
    if not has_postgres():
        Console().print("Postgres is not installed: SQLite alone is measured")
        return
    with ExitStack() as servers:
        url = servers.enter_context(postgres_server(of_postgres))
        yield "Postgres", servers.enter_context(prefect_server(directory / "postgres", port, url))


def _take(api: str, updates: int) -> Taken:
    names = [f"model-{number}-onnx" for number in range(updates)]
    with SyncPrefectClient(api) as client:
        deployment_id = _set_trigger(client)
        start = time.perf_counter()
        with ThreadPoolExecutor(CLIENTS) as pool:
            list(pool.map(lambda name: _tell(api, name), names))
        told_s = time.perf_counter() - start
        runs = _await_runs(client, deployment_id, updates)
        queued_s = time.perf_counter() - start
        assert Counter(run.parameters["model_name"] for run in runs) == Counter(names), "each once, none lost"
        start = time.perf_counter()
        with ThreadPoolExecutor(CLIENTS) as pool:
            ended = list(pool.map(lambda run: _end(api, run.id), runs))
    requests_ms = [elapsed_ms for of_run in ended for elapsed_ms in of_run.requests_ms]
    return Taken(told_s, queued_s, time.perf_counter() - start, requests_ms, sum(of_run.repeated for of_run in ended))


def _set_trigger(client: SyncPrefectClient) -> UUID:
    """Make a deployment, which no worker runs, and the trigger that prefect.yaml gives deploy-model."""
    flow_id = client.create_flow_from_name("deploy-model")
    deployment_id = client.create_deployment(flow_id, "local")
    definitions = yaml.safe_load((ROOT / "prefect.yaml").read_text())["definitions"]
    ((found,),) = (given["triggers"] for given in _list_mappings(definitions) if "triggers" in given)
    trigger = DeploymentEventTrigger.model_validate({"name": "alias", **found})
    trigger.set_deployment_id(deployment_id)
    client.create_automation(trigger.as_automation())
    return deployment_id


def _list_mappings(node: Any) -> Iterator[dict[str, Any]]:
    if isinstance(node, dict):
        yield node
        for value in node.values():
            yield from _list_mappings(value)


def _tell(api: str, name: str) -> None:
    set_at = datetime.now(UTC)
    event = make_alias_event(uuid4(), name, "deploy", 1, set_at=set_at, found_by="webhook", released=True)
    httpx.post(f"{api}/events", json=[event.model_dump(mode="json")], timeout=60).raise_for_status()


def _await_runs(client: SyncPrefectClient, deployment_id: UUID, count: int) -> list[FlowRun]:
    end = time.monotonic() + 2 * LIMIT_S
    while len(runs := client.read_flow_runs(limit=200)) < count:
        assert time.monotonic() < end, f"{len(runs)} of {count} updates are queued"
        time.sleep(0.1)
    assert {run.deployment_id for run in runs} == {deployment_id}
    return runs


def _end(api: str, flow_run_id: UUID) -> Ended:
    """Take a run through its states, a line of its log before each."""
    line = {"name": "flow", "level": 20, "message": "a line", "flow_run_id": str(flow_run_id)}
    taken, refused = list[float](), 0
    with httpx.Client(base_url=api, timeout=TIMEOUT_S) as client:
        for state in STATES:
            log = [line | {"timestamp": datetime.now(UTC).isoformat()}]
            for path, body in (("/logs/", log), (f"/flow_runs/{flow_run_id}/set_state", {"state": {"type": state}})):
                start = time.perf_counter()
                while not _is_taken(client, path, body):
                    refused += 1
                taken.append((time.perf_counter() - start) * 1000)
    return Ended(taken, refused)


def _is_taken(client: httpx.Client, path: str, body: Any) -> bool:
    """Send a request once; tell whether it was taken, or is to be repeated, as Prefect's own client does."""
    try:
        answer = client.post(path, json=body)
    except httpx.TimeoutException:
        return False
    if answer.status_code == httpx.codes.SERVICE_UNAVAILABLE:
        return False
    answer.raise_for_status()
    return True
