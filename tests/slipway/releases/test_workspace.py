"""A run's files lie in a directory of its own, which is gone when the run is, however it ends."""

import os
import signal
import subprocess
import sys
import uuid
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path
from threading import Barrier

import pytest

from blocks.environment import Environment
from blocks.errors import IntegrityError
from blocks.registry import ModelRegistry, RegisteredVersion
from flows.deployment import deploy_model
from infra.local.settings import ROOT
from slipway.releases.fetched import FetchedModel, ensure_files
from slipway.releases.workspace import private_workspace, remove_leftovers, workspace
from tasks.deployment.fetch_model import fetch_model
from tests.apparatus.models import linear_model, random_weights, register_linear, save

THEN = datetime(2026, 2, 3, tzinfo=UTC)


class RegistryOfOneModel(ModelRegistry):
    """A registry that has one version of every model, whose weights are made from a seed."""

    _block_type_name = "Registry of one model"
    _block_type_slug = "registry-of-one-model"

    seed: int

    def resolve(self, model_name: str, source: str) -> RegisteredVersion:
        return RegisteredVersion(model_name=model_name, version=1, source_uri="models:/m-1", created_at=THEN)

    def download(self, version: RegisteredVersion, into: Path) -> Path:
        into.mkdir(parents=True)
        save(into, linear_model(random_weights(self.seed)), {})
        return into


@pytest.fixture
def root(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Where the directories of this test's runs are made."""
    monkeypatch.setenv("SLIPWAY_WORKSPACE", str(tmp_path))
    return tmp_path


@contextmanager
def killed_after_making_one() -> Iterator[Path]:
    """Yield the directory of a process that has it now and is killed when the block is left."""
    code = (
        "import time; from slipway.releases.workspace import workspace; print(workspace(), flush=True); time.sleep(60)"
    )
    with subprocess.Popen([sys.executable, "-c", code], cwd=ROOT, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        try:
            yield Path(process.stdout.readline().strip())
        finally:
            process.send_signal(signal.SIGKILL)


def test_nobody_else_may_look_into_it(root: Path) -> None:
    with private_workspace() as directory:
        assert (directory.parent, directory.stat().st_mode & 0o777) == (root, 0o700)


@pytest.mark.parametrize("end", [RuntimeError, KeyboardInterrupt, SystemExit])
def test_it_is_gone_when_its_run_ends_however_that_is(root: Path, end: type[BaseException]) -> None:
    with pytest.raises(end), private_workspace() as directory:
        (directory / "model.onnx").write_bytes(b"weights")
        raise end

    assert list(root.iterdir()) == []


def test_what_a_killed_process_left_is_removed_by_the_next_run_and_never_before_it_is_dead(root: Path) -> None:
    with killed_after_making_one() as left:
        remove_leftovers()
        assert left.is_dir()

    with private_workspace() as directory:
        assert list(root.iterdir()) == [directory]


def test_a_step_run_from_a_shell_leaves_nothing(root: Path) -> None:
    code = "from slipway.releases.workspace import workspace; (workspace() / 'model.onnx').touch()"

    subprocess.run([sys.executable, "-c", code], cwd=ROOT, check=True)

    assert list(root.iterdir()) == []


def test_a_process_that_is_forked_meanwhile_does_not_take_it_along(root: Path) -> None:
    with private_workspace() as directory:
        if (child := os.fork()) == 0:
            try:
                with private_workspace():
                    pass
            finally:
                os._exit(0)
        os.waitpid(child, 0)

        assert directory.is_dir() and list(root.iterdir()) == [directory]


def test_two_registries_with_a_model_of_one_name_and_number_never_get_each_others_bytes(root: Path) -> None:
    registries = [RegistryOfOneModel(tracking_uri=f"http://mlflow-{seed}", seed=seed) for seed in (1, 2)]
    both = Barrier(2, timeout=60)

    def fetched(registry: ModelRegistry) -> tuple[FetchedModel, bytes]:
        with private_workspace():
            both.wait()
            found = fetch_model.fn("m-onnx", registry=registry)
            both.wait()
            return found, (ensure_files(found, registry) / "model.onnx").read_bytes()

    with ThreadPoolExecutor(2) as pool:
        contents = [content for _, content in pool.map(fetched, registries)]

    assert contents == [linear_model(random_weights(seed)).SerializeToString() for seed in (1, 2)]


def test_a_run_that_goes_on_in_another_process_downloads_again_and_looks_again(root: Path) -> None:
    registry = RegistryOfOneModel(tracking_uri="http://mlflow", seed=1)
    with private_workspace():
        fetched = fetch_model.fn("m-onnx", registry=registry)

    with private_workspace() as directory:
        assert ensure_files(fetched, registry).is_relative_to(directory) and workspace() == directory
    with private_workspace(), pytest.raises(IntegrityError, match=r"model.onnx has SHA-256 .*, registered was"):
        ensure_files(fetched, registry.model_copy(update={"seed": 2}))


def test_a_release_a_dry_run_and_a_failed_release_leave_nothing(root: Path, environment: Environment) -> None:
    name = f"test-{uuid.uuid4().hex[:8]}-onnx"
    register_linear(environment.registry, name, seed=1)
    states = [deploy_model(name, dry_run=dry_run, return_state=True) for dry_run in (True, False)]
    register_linear(environment.registry, name, seed=2, lie=1.0)
    states.append(deploy_model(name, return_state=True))

    assert [state.is_completed() for state in states] == [True, True, False]
    assert list(root.iterdir()) == []
