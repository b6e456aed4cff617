"""What fetch-model leaves on disk is used only as long as it is what was fetched."""

import uuid
from pathlib import Path

import pytest

from blocks.environment import Environment
from slipway.releases.fetched import FetchedModel, ensure_files
from tasks.deployment.fetch_model import fetch_model
from tests.apparatus.models import register_linear


@pytest.fixture
def fetched(environment: Environment, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> FetchedModel:
    """A small model, fetched into a workspace of this test's own."""
    monkeypatch.setenv("SLIPWAY_WORKSPACE", str(tmp_path))
    name = f"test-{uuid.uuid4().hex[:8]}-onnx"
    register_linear(environment.registry, name, seed=1)
    return fetch_model.fn(name, registry=environment.registry)


def test_files_that_are_as_they_were_fetched_are_not_downloaded_again(
    environment: Environment, fetched: FetchedModel
) -> None:
    model = ensure_files(fetched, environment.registry) / "model.onnx"
    before = model.stat()

    ensure_files(fetched, environment.registry)

    assert (model.stat().st_ino, model.stat().st_mtime_ns) == (before.st_ino, before.st_mtime_ns)


def test_a_file_that_was_damaged_on_disk_is_downloaded_again(environment: Environment, fetched: FetchedModel) -> None:
    model = ensure_files(fetched, environment.registry) / "model.onnx"
    content = model.read_bytes()

    model.write_bytes(content[:-1] + bytes([content[-1] ^ 1]))

    assert (ensure_files(fetched, environment.registry) / "model.onnx").read_bytes() == content


def test_a_file_that_is_gone_is_downloaded_again(environment: Environment, fetched: FetchedModel) -> None:
    (ensure_files(fetched, environment.registry) / "golden.npz").unlink()

    assert (ensure_files(fetched, environment.registry) / "golden.npz").exists()
