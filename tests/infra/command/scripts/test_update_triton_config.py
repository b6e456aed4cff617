"""A release where Git is the record, whole: MLflow, a bare repository, what follows it, and a Triton that polls."""

import os
import shlex
import shutil
import subprocess
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import numpy as np
import pytest

from blocks.environment import Environment
from blocks.fleet import TritonFleet
from infra.local.settings import ROOT, LocalStack
from tests.apparatus.models import FEATURES, random_weights, register_linear
from tests.apparatus.plain_triton import PlainTriton, plain_triton

PAGE = (ROOT / "docs" / "migrating" / "git.md").read_text()
(LINE,) = (line for line in PAGE.splitlines() if line.startswith("python -m tasks"))
EXAMPLE = ROOT / "examples" / "model_repository" / "onnx-model"
FOLLOWED_EVERY_S = 0.5
CONFIG = """backend: "python"
max_batch_size: 8
input [ {{ name: "input" data_type: TYPE_FP32 dims: [ 4 ] }} ]
output [ {{ name: "output" data_type: TYPE_FP32 dims: [ 3 ] }} ]
parameters: {{ key: "mlflow_tracking_uri" value: {{ string_value: "{uri}" }} }}
parameters: {{ key: "mlflow_model_name" value: {{ string_value: "{name}" }} }}
parameters: {{ key: "mlflow_model_cache" value: {{ string_value: "{cache}" }} }}
parameters: {{ key: "mlflow_model_version" value: {{ string_value: "1" }} }}  # the one that is served
"""


def git(*arguments: str, cwd: Path) -> str:
    """Run git as somebody; return what it prints."""
    somebody = ("-c", "user.name=somebody", "-c", "user.email=somebody@example.com")
    return subprocess.run(["git", *somebody, *arguments], cwd=cwd, check=True, capture_output=True, text=True).stdout


@contextmanager
def followed(bare: Path, checkout: Path) -> Iterator[None]:
    """Keep a checkout at the branch's head, as git-sync does."""
    git("clone", "-q", str(bare), str(checkout), cwd=bare.parent)
    ended = threading.Event()

    def follow() -> None:
        while not ended.wait(FOLLOWED_EVERY_S):
            git("pull", "-q", "--ff-only", cwd=checkout)

    thread = threading.Thread(target=follow)
    thread.start()
    try:
        yield
    finally:
        ended.set()
        thread.join()


@pytest.fixture
def bare(stack: LocalStack, environment: Environment, model_name: str, tmp_path: Path) -> Path:
    """Make a repository that serves version 1 of a model with two more: one right, one with samples that lie."""
    for seed, lie in ((1, 0.0), (2, 0.0), (3, 0.5)):
        register_linear(environment.registry, model_name, seed, lie=lie)
    bare, work = tmp_path / "record.git", tmp_path / "work"
    git("init", "-q", "--bare", "-b", "main", str(bare), cwd=tmp_path)
    git("init", "-q", "-b", "main", str(work), cwd=tmp_path)
    folder = work / "model_repository" / model_name
    shutil.copytree(EXAMPLE / "1", folder / "1", ignore=shutil.ignore_patterns("__pycache__"))
    config = CONFIG.format(uri=stack.mlflow_url, name=model_name, cache=tmp_path / "cache")
    (folder / "config.pbtxt").write_text(config)
    git("add", "-A", cwd=work)
    git("commit", "-q", "-m", "Serve version 1", cwd=work)
    git("push", "-q", str(bare), "main", cwd=work)
    return bare


Ended = subprocess.CompletedProcess[str]


def update(bare: Path, model_name: str, triton: PlainTriton, uri: str, source: str, *more: str) -> Ended:
    """Run the page's line, its places replaced by those of the test."""
    places = {
        "yolo11n-onnx": model_name,
        "https://github.com/me/gitops.git": str(bare),
        "onnx-model/": f"{model_name}/",
        "http://triton:8000": f"grpc://{triton.grpc}",
        "http://mlflow:5000": uri,
        "--source=version:2": source,
        "python ": f"{sys.executable} ",
    }
    line = LINE
    for theirs, ours in places.items():
        line = line.replace(theirs, ours)
    key = {"SLIPWAY_TRITON_CONTROL_KEY": triton.key}
    command = [*shlex.split(line), "--timeout=20", *more]
    return subprocess.run(command, cwd=ROOT, env=os.environ | key, capture_output=True, text=True, timeout=120)


def served_by(fleet: TritonFleet, model_name: str) -> int:
    """Return the version whose weights a replica computes with."""
    inputs = np.eye(FEATURES, dtype=np.float32)
    answer = fleet.infer(fleet.replicas[0], model_name, {"input": inputs}, ["output"], None)["output"]
    (version,) = (seed for seed in (1, 2, 3) if np.allclose(answer, random_weights(seed), atol=1e-5))
    return version


@pytest.mark.timeout(400)
def test_a_version_is_committed_and_proven_and_one_that_lies_is_reverted(
    stack: LocalStack, bare: Path, model_name: str, tmp_path: Path
) -> None:
    path = f"main:model_repository/{model_name}/config.pbtxt"
    with followed(bare, tmp_path / "checkout"):
        models = tmp_path / "checkout" / "model_repository"
        with plain_triton(tmp_path / "triton", models, mode="poll") as triton:
            fleet = TritonFleet(replicas=[triton.grpc])
            assert served_by(fleet, model_name) == 1

            dry = update(bare, model_name, triton, stack.mlflow_url, "--source=version:2", "--dry-run")
            assert (dry.returncode, "2 would be committed" in dry.stdout) == (0, True), dry
            right = update(bare, model_name, triton, stack.mlflow_url, "--source=version:2")
            assert right.returncode == 0, right
            assert "answers on 1 replicas" in right.stdout and served_by(fleet, model_name) == 2
            record = git("show", path, cwd=bare)
            assert record == git("show", f"main~1:{path.split(':')[1]}", cwd=bare).replace('"1" } }  #', '"2" } }  #')

            wrong = update(bare, model_name, triton, stack.mlflow_url, "--source=version:3")

            assert wrong.returncode == 1 and model_name in wrong.stderr, wrong
            assert git("show", path, cwd=bare) == record
            assert len(git("log", "--format=%h", "main", cwd=bare).split()) == 4, "one of theirs, two bumps, a revert"
