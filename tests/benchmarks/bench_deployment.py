"""How long the seven steps take for a 45 MB ResNet18, step by step, how far that is from the floor, and how often each
server is asked.

The plain floor is the same bytes moved by plain boto3 (from MLflow's bucket to disk, from disk into the model
repository) plus one Triton load, on the same servers in the same run: no checks, one replica. The safe floor adds what
no release can do without that proves what it does: a candidate's load, one load a wave, one inference each.
"""

import statistics
import time
from functools import cache
from pathlib import Path
from typing import Any
from uuid import UUID

import numpy as np
import onnx
import onnxruntime
import pytest
import torch
from onnx import numpy_helper
from prefect.client.orchestration import get_client
from prefect.client.schemas.objects import State
from rich.console import Console
from rich.table import Table

from blocks.environment import Environment
from blocks.fleet import TritonFleet
from blocks.registry import RegisteredVersion
from flows.deployment import deploy_model
from flows.rollback import Rollback, rollback_model
from infra.local.settings import MLFLOW_BUCKET, LocalStack
from slipway.learning.resnet import ResNet18
from slipway.releases.fetched import ensure_files
from slipway.releases.serving_config import generate_config
from tasks.deployment.fetch_model import fetch_model
from tests.apparatus.calls import SERVERS, Calls, counted_calls
from tests.apparatus.models import register_directory
from tests.apparatus.runs import STEPS, steps_of
from tests.benchmarks.size import Size

RUNS = 3
LIMIT_S = 8.0
ROLLBACK_LIMIT_S = 0.5
MODEL_NAME = "bench-resnet18-onnx"
PLAIN = ("boto3 download", "boto3 upload", "Triton load")
# tests/flows/test_calls.py counts a release's requests, and every test of a release goes through its steps
pytestmark = [pytest.mark.benchmark, pytest.mark.exhaustive]


@pytest.mark.timeout(900)
def test_the_seven_steps_of_a_45_mb_resnet18_take_8_seconds_or_less(
    environment: Environment, stack: LocalStack, tmp_path: Path, size: Size
) -> None:
    floors, totals, steps, calls, nothing = [], [], [], list[Calls](), []
    for seed in range(size.choose(RUNS, 1)):
        registered = _register_resnet18(environment, tmp_path / str(seed), seed)
        floors.append(_floor(environment, registered, tmp_path))
        with counted_calls(stack) as of_release:
            total, by_step = _release(MODEL_NAME)
        totals.append(total)
        steps.append(by_step)
        calls.append(of_release)
        nothing.append(_read_duration_s(deploy_model(MODEL_NAME, return_state=True)))
    _report(floors, totals, steps, calls, nothing)
    assert statistics.median(totals) <= size.within(LIMIT_S)


@pytest.mark.timeout(900)
def test_rolling_a_45_mb_resnet18_back_is_proven_on_every_replica_within_half_a_second(
    environment: Environment, tmp_path: Path, size: Size
) -> None:
    name, proven, whole = f"{MODEL_NAME}-back", [], []
    _register_resnet18(environment, tmp_path / "first", RUNS, name)
    _release(name)
    for seed in range(size.choose(RUNS, 1)):
        _register_resnet18(environment, tmp_path / str(seed), seed, name)
        _release(name)
        state = rollback_model(name, reason="bench", return_state=True)
        rolled_back = state.result()
        assert isinstance(rolled_back, Rollback) and rolled_back.proven_s is not None
        proven.append(rolled_back.proven_s)
        whole.append(_read_duration_s(state))
    table = Table("", *_count(proven), "median", title="Rollback, 45 MB ResNet18, seconds")
    _row(table, "call to proof on both replicas", proven)
    _row(table, "whole flow run, tidying up included", whole)
    Console(width=100).print("\n", table)
    assert statistics.median(proven) <= size.within(ROLLBACK_LIMIT_S)


@cache
def _export_resnet18() -> bytes:
    """Return a ResNet18 as ONNX: exporting takes longer than releasing."""
    torch.manual_seed(0)
    program = torch.onnx.export(
        ResNet18(10).eval(),
        (torch.randn(4, 3, 32, 32),),
        input_names=["input"],
        output_names=["output"],
        dynamic_shapes=({0: torch.export.Dim("batch_size")},),
        verbose=False,
    )
    assert program is not None
    return program.model_proto.SerializeToString()  # type: ignore[no-any-return]


def _register_resnet18(
    environment: Environment, directory: Path, seed: int, model_name: str = MODEL_NAME
) -> RegisteredVersion:
    """Register one with weights of its own: by the seed, its last layer's."""
    model, random = onnx.load_model_from_string(_export_resnet18()), np.random.default_rng(seed)
    last = next(weights for weights in model.graph.initializer if list(weights.dims) == [10, 512])
    last.CopyFrom(numpy_helper.from_array(random.standard_normal((10, 512)).astype(np.float32), last.name))
    directory.mkdir()
    onnx.save(model, directory / "model.onnx")
    (directory / "MLmodel").write_text("flavors:\n  onnx:\n    data: model.onnx\n")
    example = random.standard_normal((4, 3, 32, 32)).astype(np.float32)
    (output,) = onnxruntime.InferenceSession(directory / "model.onnx").run(["output"], {"input": example})
    np.savez(directory / "golden.npz", **{"input/input": example, "output/output": output})
    return register_directory(environment.registry, model_name, directory)


def _floor(environment: Environment, registered: RegisteredVersion, directory: Path) -> dict[str, float]:
    fetched = fetch_model.fn(registered.model_name, f"version:{registered.version}", registry=environment.registry)
    path = ensure_files(fetched, environment.registry) / "model.onnx"
    client, name = environment.repository.store.client, f"floor-{registered.version}-onnx"
    stored = next(key for key in _keys(client) if registered.source_uri.removeprefix("models:/") in key)
    client.put_object(
        Bucket="triton-models",
        Key=f"repository/{name}/config.pbtxt",
        Body=generate_config(name, fetched.contents, (1,)).encode(),
    )
    times, start = {}, time.perf_counter()
    client.download_file(MLFLOW_BUCKET, stored, str(directory / "copy.onnx"))
    times["boto3 download"] = time.perf_counter() - start
    start = time.perf_counter()
    client.upload_file(str(path), "triton-models", f"repository/{name}/1/model.onnx")
    times["boto3 upload"] = time.perf_counter() - start
    replicas = environment.fleet.list_addresses()
    times["Triton load"] = _load(environment.fleet, replicas[0], name)
    times["one inference"] = _ask(environment.fleet, replicas[0], name)
    environment.fleet.unload_model(replicas[0], name)
    for number, replica in enumerate(replicas, 1):
        times[f"wave {number}: load and one inference"] = sum(
            act(environment.fleet, replica, name) for act in (_load, _ask)
        )
    for replica in replicas:
        environment.fleet.unload_model(replica, name)
    environment.repository.store.delete_below(f"repository/{name}/")
    return times


def _load(fleet: TritonFleet, replica: str, name: str) -> float:
    """Return how many seconds a load takes."""
    start = time.perf_counter()
    fleet.load_model(replica, name)
    return time.perf_counter() - start


def _ask(fleet: TritonFleet, replica: str, name: str) -> float:
    """Return how many seconds an answer takes."""
    image, start = np.zeros((1, 3, 32, 32), np.float32), time.perf_counter()
    fleet.infer(replica, name, {"input": image}, ["output"], 1)
    return time.perf_counter() - start


def _keys(client: object) -> list[str]:
    pages = client.get_paginator("list_objects_v2").paginate(Bucket=MLFLOW_BUCKET)  # type: ignore[attr-defined]
    return [o["Key"] for page in pages for o in page.get("Contents", []) if o["Key"].endswith("model.onnx")]


def _release(model_name: str) -> tuple[float, dict[str, float]]:
    state = deploy_model(model_name, return_state=True)
    assert state.is_completed(), state.message
    steps = {name: step.duration_s for name, step in steps_of(state.state_details.flow_run_id).items()}
    return _read_duration_s(state), steps


def _read_duration_s(state: State[Any]) -> float:
    """Return how long a run was until it said so; a call returns later, when Prefect's thread for heartbeats wakes."""
    with get_client(sync_client=True) as client:
        return client.read_flow_run(UUID(str(state.state_details.flow_run_id))).total_run_time.total_seconds()


def _report(
    floors: list[dict[str, float]],
    totals: list[float],
    steps: list[dict[str, float]],
    calls: list[Calls],
    nothing: list[float],
) -> None:
    table = Table("step", *_count(totals), "median", title="Seven steps, 45 MB ResNet18, seconds")
    for step in STEPS:
        _row(table, step, [times.get(step, 0.0) for times in steps])
    _row(table, "whole flow run", totals)
    _row(table, "the same again: live already", nothing)
    table.add_section()
    for part in floors[0]:
        _row(table, part, [times[part] for times in floors])
    plain = [sum(times[part] for part in PLAIN) for times in floors]
    safe = [sum(times.values()) for times in floors]
    _row(table, "plain floor", plain)
    _row(table, "safe floor", safe)
    table.add_section()
    for name, floor in (("plain", plain), ("safe", safe)):
        ratios = [total / low for total, low in zip(totals, floor, strict=True)]
        _row(table, f"ratio to the {name} floor", ratios)
    table.add_section()
    for server in SERVERS:
        counted = [of_release[server] for of_release in calls]
        table.add_row(f"requests to {server}", *map(str, counted), f"{statistics.median(counted):.0f}")
    Console(width=100).print("\n", table)


def _count(runs: list[float]) -> list[str]:
    return [f"run {number}" for number in range(1, len(runs) + 1)]


def _row(table: Table, name: str, values: list[float]) -> None:
    table.add_row(name, *(f"{value:.2f}" for value in (*values, statistics.median(values))))
