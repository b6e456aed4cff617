"""Which results of the training's steps a run that is executed again finds."""

import os
import subprocess
import sys
from types import SimpleNamespace
from typing import Any

from prefect_aws.s3 import S3Bucket

from blocks.checkpoints import Checkpoints
from blocks.registry import ModelRegistry
from infra.local.settings import ROOT
from slipway.learning.parameters import TrainingSettings
from tasks.policies import PER_RUN

CONTEXT: Any = SimpleNamespace(
    task=SimpleNamespace(source_code="def train(settings): ..."), task_run=SimpleNamespace(flow_run_id="a-run", id="1")
)


def settings(**changed: Any) -> TrainingSettings:
    usable = {"model_name": "m", "dataset": "digits", "learning_rate": 0.001, "batch_size": 64, "num_workers": 2}
    return TrainingSettings.check(**usable | {"epochs": 4, "input_shape": [1, 3, 32, 32], "seed": 0} | changed)


def key(of: TrainingSettings, *, address: str = "http://localhost:5000", context: Any = CONTEXT) -> str | None:
    registry = ModelRegistry(tracking_uri=address)
    inputs = {"settings": of, "registry": registry, "checkpoints": Checkpoints(bucket=S3Bucket(bucket_name="b"))}
    return PER_RUN.compute_key(task_ctx=context, inputs=inputs, flow_parameters={})


def test_a_result_is_found_by_what_was_computed_and_not_by_where_it_is_kept() -> None:
    assert key(settings()) == key(settings(), address="http://elsewhere:5000")
    assert key(settings()) != key(settings(epochs=5))


def test_a_result_is_found_in_its_own_run_only() -> None:
    another: Any = SimpleNamespace(task=CONTEXT.task, task_run=SimpleNamespace(flow_run_id="another", id="1"))

    assert key(settings()) != key(settings(), context=another)


def test_a_result_is_found_from_another_process() -> None:
    code = "from tests.tasks.test_policies import key, settings; print(key(settings()))"

    printed = subprocess.run(
        [sys.executable, "-c", code], cwd=ROOT, env=os.environ | {"PYTHONHASHSEED": "7"}, capture_output=True, text=True
    )

    assert printed.stdout.strip() == key(settings()), printed.stderr
