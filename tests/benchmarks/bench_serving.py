"""How fast a 45 MB ResNet18 at 224 px is served: our backend beside ONNX Runtime, the tuned beside the default config.

All figures of a table are from one run, measured in turns; the median of the ratios counts, since others may use the
same cores.
"""

import statistics
import subprocess
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, cast

import numpy as np
import psutil
import pytest
import torch
import torchvision
from prefect.client.schemas.objects import State
from rich.console import Console
from rich.table import Table

from blocks.environment import Environment
from blocks.fleet import TritonFleet
from blocks.load_generator import Asked, LoadGenerator, loading
from flows.deployment import deploy_model
from flows.tuning import tune_model
from infra.local import preflight
from slipway.releases.kept_settings import keep_settings, read_kept
from slipway.releases.serving_settings import ServingSettings
from slipway.tuning.tuning import Tuning
from tests.apparatus.models import register_directory
from tests.apparatus.plain_triton import plain_triton

ROUNDS, SECONDS = 5, 3.0
BATCHES = (1, 8, 32)
BACKEND_GOAL, TUNED_GOAL = 0.9, 1.5
LATENCY_MS = 300.0
SIZE = 224
Compute = Callable[[int], tuple[float, float]]
RATE = Path(__file__).parents[1] / "apparatus" / "inference_rate.py"
NAME = "resnet18"
CONFIG = f"""
name: "{NAME}" backend: "onnxruntime" max_batch_size: 32
input {{ name: "input" data_type: TYPE_FP32 dims: [3, {SIZE}, {SIZE}] }}
output {{ name: "output" data_type: TYPE_FP32 dims: [1000] }}
dynamic_batching {{ }}
instance_group {{ count: 1 kind: KIND_CPU }}
"""
# as this server completes a configuration that says nothing, and as NVIDIA's ONNX Runtime backend does
DEFAULTS = {
    "of the local backend": ServingSettings(max_batch_size=4, queue_delay_us=0, instances=1),
    "of NVIDIA's backend": ServingSettings(max_batch_size=4, queue_delay_us=0, instances=2, intra_op_threads=2),
}


@pytest.mark.timeout(1200)
def test_the_local_backend_reaches_nine_tenths_of_onnx_runtime_in_process(tmp_path: Path) -> None:
    """What a row takes of a core decides: seconds on the clock are others', too, where others use the cores."""
    version = tmp_path / "repository" / NAME / "1"
    version.mkdir(parents=True)
    _export(version / "model.onnx")
    (version.parent / "config.pbtxt").write_text(CONFIG)
    columns = ("rows a request", "in process", "1 client", "ratio", "2 clients", "ratio", "rows a core's second, ratio")
    table, reached = Table(*columns, title="Rows a second, median ratios of rounds"), {}
    with plain_triton(tmp_path / "triton", tmp_path / "repository") as server:
        fleet = TritonFleet(replicas=[server.grpc], call_timeout_s=120)
        with _in_process(version / "model.onnx") as compute:
            for rows in BATCHES:
                image = np.random.default_rng(0).standard_normal((rows, 3, SIZE, SIZE)).astype(np.float32)
                asked = Asked(server.grpc, NAME, 1, [{"input": image}], ["output"])
                with loading(fleet, asked) as load:
                    rounds = [_measure_round(compute, load, rows) for _ in range(ROUNDS)]
                floor, _, one, two, _ = (statistics.median(found) for found in zip(*rounds, strict=True))
                first, second = (statistics.median(found[at] / found[0] for found in rounds) for at in (2, 3))
                reached[rows] = statistics.median(found[4] / found[1] for found in rounds)
                figures = (floor, one, first, two, second, reached[rows])
                table.add_row(f"{rows}", *(f"{figure:.2f}" for figure in figures))
    Console(width=110).print("\n", table)
    assert min(reached.values()) >= BACKEND_GOAL, reached


@pytest.mark.timeout(3000)
@pytest.mark.parametrize("default", DEFAULTS)
def test_the_tuned_config_serves_more_within_the_same_p99(
    environment: Environment, model_name: str, tmp_path: Path, default: str
) -> None:
    _export(tmp_path / "model.onnx")
    (tmp_path / "MLmodel").write_text("flavors:\n  onnx:\n    data: model.onnx\n")
    register_directory(environment.registry, model_name, tmp_path)
    kept = read_kept(environment.repository, model_name)
    keep_settings(model_name, DEFAULTS[default], after=kept, by="bench", environment=environment)
    deploy_model(model_name, input_shapes={"input": (1, 3, SIZE, SIZE)})

    found = tune_model(
        model_name,
        latency_ms=LATENCY_MS,
        beside_traffic=True,
        intra_op_threads=(1, 2),
        instances=(1, 2, 3),
        queue_delays_us=(0, 2000),
        max_batch_sizes=(4, 8),
        clients=16,
        seconds=SECONDS,
        rounds=ROUNDS,
        dry_run=True,
        return_state=True,
    )
    tuning: Tuning = cast(State[Any], found).result()

    table = Table(*(str(name) for name in tuning.rows[0]), title=f"Tuned from the default {default}, {LATENCY_MS:g} ms")
    for row in tuning.rows:
        table.add_row(*map(str, row.values()))
    Console(width=140).print("\n", table, tuning.verdict.reason)
    assert tuning.verdict.ratio is None or tuning.verdict.ratio >= TUNED_GOAL, tuning.verdict.reason


def _measure_round(compute: Compute, load: LoadGenerator, rows: int) -> tuple[float, ...]:
    """Return the rows a second, and a core's second, in process; those with one client and two, and a core's second."""
    in_process = compute(rows)
    one = load.ask(1, SECONDS, least=5)["per_second"] * rows
    used, begun = _count_core_seconds(), time.perf_counter()
    two = load.ask(2, SECONDS, least=5)["per_second"] * rows
    cores = (_count_core_seconds() - used) / (time.perf_counter() - begun)
    return (*in_process, one, two, two / cores)


def _count_core_seconds() -> float:
    """Return what the servers that this process started, and the processes of their backends, took of the cores."""
    servers = [found for found in psutil.Process().children(recursive=True) if "triton" in found.name()]
    return sum(sum(server.cpu_times()[:2]) for server in servers)


@contextmanager
def _in_process(model: Path) -> Iterator[Compute]:
    """Yield what tells how many rows ONNX Runtime computes in batches of so many: a second, and a core's second."""
    command = [preflight.prepare_triton_python(), str(RATE), str(model), "1"]
    process = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
    assert process.stdin is not None and process.stdout is not None
    stdin, stdout = process.stdin, process.stdout

    def compute(rows: int) -> tuple[float, float]:
        stdin.write(f"{rows} {SECONDS}\n")
        stdin.flush()
        a_second, a_core_second = map(float, stdout.readline().split())
        return a_second, a_core_second

    try:
        yield compute
    finally:
        stdin.close()
        process.wait(60)


def _export(path: Path) -> None:
    torch.manual_seed(0)
    model = torchvision.models.resnet18(weights=None).eval()
    torch.onnx.export(
        model,
        (torch.randn(2, 3, SIZE, SIZE),),
        str(path),
        input_names=["input"],
        output_names=["output"],
        dynamic_shapes=({0: torch.export.Dim("batch_size")},),
        external_data=False,
        verbose=False,
    )
