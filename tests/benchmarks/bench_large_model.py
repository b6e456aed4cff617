"""How fast a 2 GB model with external data moves through a release, and in how much memory.

Compared are fetch-model and upload-to-s3, with all their checks, with plain boto3 that moves the same bytes from
MLflow's bucket to disk and from disk into the model repository, once before the release and once after it.
"""

import time
from pathlib import Path

import pytest
from rich.console import Console
from rich.table import Table

from blocks.environment import Environment
from blocks.registry import RegisteredVersion
from infra.local.settings import MLFLOW_BUCKET
from tests.apparatus.large_models import (
    DATA_FILE,
    LARGE_BYTES,
    MEMORY_LIMIT_BYTES,
    SMALL_BYTES,
    artifacts_prefix,
    release_apart,
    table_model,
)
from tests.apparatus.runs import steps_of
from tests.benchmarks.size import Size

MODEL_NAMES = ("bench-45-mb-onnx", "bench-2-gb-onnx")
SPEED_LIMIT = 0.7
MB = 1024**2
pytestmark = [
    pytest.mark.benchmark,
    pytest.mark.exhaustive,
]  # tests/flows/test_large_model.py releases large models the same way


@pytest.mark.timeout(1800)
def test_a_2_gb_model_moves_at_70_percent_of_boto3s_speed_in_150_mb_more_memory_than_a_45_mb_one(
    environment: Environment, tmp_path: Path, size: Size
) -> None:
    small_bytes, large_bytes = size.choose((SMALL_BYTES, LARGE_BYTES), (MB, 2 * MB))
    with table_model(environment, MODEL_NAMES[0], small_bytes) as small:
        small_peak = release_apart(small.model_name).peak_bytes
    with table_model(environment, MODEL_NAMES[1], large_bytes) as large:
        floors = [_moved_by_boto3(environment, large, tmp_path)]
        flow_run_id, large_peak = release_apart(large.model_name)
        floors.append(_moved_by_boto3(environment, large, tmp_path))
    steps = {name: step.duration_s for name, step in steps_of(flow_run_id).items()}
    floor = sum(sum(times.values()) for times in floors) / len(floors)
    ratio = floor / (steps["fetch-model"] + steps["upload-to-s3"])
    _report(large_bytes, steps, floors, ratio, (small_peak, large_peak))
    assert large_peak - small_peak <= size.most(MEMORY_LIMIT_BYTES)
    assert ratio >= size.least(SPEED_LIMIT)


def _moved_by_boto3(environment: Environment, registered: RegisteredVersion, directory: Path) -> dict[str, float]:
    client, bucket = environment.repository.store.client, environment.repository.store.bucket
    source = f"{artifacts_prefix(environment, registered)}{DATA_FILE}"
    path, target = str(directory / DATA_FILE), f"staging/plain-{registered.model_name}/{DATA_FILE}"
    start = time.perf_counter()
    client.download_file(MLFLOW_BUCKET, source, path)
    downloaded = time.perf_counter()
    client.upload_file(path, bucket, target)
    uploaded = time.perf_counter()
    Path(path).unlink()
    environment.repository.store.delete(target)
    return {"boto3 download": downloaded - start, "boto3 upload": uploaded - downloaded}


def _report(
    size_bytes: int, steps: dict[str, float], floors: list[dict[str, float]], ratio: float, peaks: tuple[int, int]
) -> None:
    table = Table("step", "seconds", "MB/s", title=f"A model of {size_bytes / MB:.0f} MB with external data")
    for step, seconds in steps.items():
        moves = step in {"fetch-model", "upload-to-s3"}
        table.add_row(step, f"{seconds:.2f}", f"{size_bytes / seconds / MB:.0f}" if moves else "")
    table.add_section()
    for times in floors:
        for part, seconds in times.items():
            table.add_row(part, f"{seconds:.2f}", f"{size_bytes / seconds / MB:.0f}")
    table.add_section()
    table.add_row("speed, boto3 = 1", f"{ratio:.2f}", "")
    Console(width=100).print("\n", table)
    small, large = (peak / MB for peak in peaks)
    Console(width=100).print(f"peak memory {large:.0f} MB, {large - small:.0f} MB more than for a 45 MB model")
