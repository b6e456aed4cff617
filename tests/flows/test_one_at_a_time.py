"""Releases of one model wait for each other, releases of different models do not."""

import subprocess
import sys
import uuid

import pytest

from blocks.errors import ReleaseInProgress
from blocks.wiring import Blocks
from flows.one_at_a_time import one_release_at_a_time
from infra.local.settings import ROOT

DYING_HOLDER = """
import os, signal, sys
from blocks.wiring import load_blocks
from flows.one_at_a_time import one_release_at_a_time
with one_release_at_a_time(sys.argv[1], load_blocks().repository):
    os.kill(os.getpid(), signal.SIGKILL)
"""


def test_a_second_release_of_a_model_is_refused_when_the_first_does_not_end_in_time(blocks: Blocks) -> None:
    model_name = f"test-{uuid.uuid4().hex[:8]}-onnx"

    with (
        one_release_at_a_time(model_name, blocks.repository),
        pytest.raises(ReleaseInProgress, match=f"model '{model_name}': another release"),
        one_release_at_a_time(model_name, blocks.repository, wait_s=1),
    ):
        pass


def test_a_release_that_ended_leaves_the_way_free(blocks: Blocks) -> None:
    model_name = f"test-{uuid.uuid4().hex[:8]}-onnx"

    for _ in range(2):
        with one_release_at_a_time(model_name, blocks.repository, wait_s=30):
            pass


def test_releases_of_different_models_do_not_wait_for_each_other(blocks: Blocks) -> None:
    with (
        one_release_at_a_time(f"test-{uuid.uuid4().hex[:8]}-onnx", blocks.repository, wait_s=30),
        one_release_at_a_time(f"test-{uuid.uuid4().hex[:8]}-onnx", blocks.repository, wait_s=30),
    ):
        pass


def test_the_slot_of_a_holder_whose_process_is_gone_is_free_at_once(blocks: Blocks) -> None:
    model_name = f"test-{uuid.uuid4().hex[:8]}-onnx"
    died = subprocess.run(
        [sys.executable, "-c", DYING_HOLDER, model_name], cwd=ROOT, capture_output=True, timeout=120, check=False
    )
    assert died.returncode == -9, died.stderr.decode()

    with one_release_at_a_time(model_name, blocks.repository, wait_s=0):
        pass
