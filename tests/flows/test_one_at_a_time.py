"""Releases of one model wait for each other, releases of different models do not."""

import subprocess
import sys
import time
import uuid

import pytest
from prefect.client.orchestration import SyncPrefectClient

from blocks.errors import ReleaseInProgress
from blocks.wiring import Blocks
from flows.one_at_a_time import one_release_at_a_time
from infra.local.settings import ROOT, LocalStack
from tests.faults import Fault, faulty_proxy

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


def test_a_slot_is_kept_through_renewals_that_prefect_does_not_answer(
    stack: LocalStack, blocks: Blocks, monkeypatch: pytest.MonkeyPatch
) -> None:
    unanswered, passed_on = Fault("POST", "/renew", times=2), Fault("POST", "/renew", bytes_per_s=1e9)
    monkeypatch.setattr("flows.one_at_a_time._RENEW_S", 0.1)

    with faulty_proxy(stack.prefect_url, unanswered, passed_on) as proxy:
        monkeypatch.setattr("flows.one_at_a_time.get_client", lambda **_: SyncPrefectClient(f"{proxy.url}/api"))
        with one_release_at_a_time(f"test-{uuid.uuid4().hex[:8]}-onnx", blocks.repository):
            give_up = time.monotonic() + 60
            while passed_on.hits < 2:
                assert time.monotonic() < give_up, "the slot was renewed no more"
                time.sleep(0.1)

    assert unanswered.hits == 2
