"""A training's checkpoints in the real store: whole or not there, the latest only, and not for ever."""

import time
from pathlib import Path
from uuid import uuid4

import pytest

from blocks.checkpoints import Checkpoints
from blocks.environment import Environment, load_block
from blocks.errors import IntegrityError, ServiceUnavailable
from blocks.object_store import ObjectStore

RUN = "0" * 32
SECOND_DAYS = 1 / 86_400


@pytest.fixture
def checkpoints(environment: Environment) -> Checkpoints:
    """The registered block, on a prefix of this test's own."""
    return load_block(Checkpoints).model_copy(update={"prefix": f"test-{uuid4().hex[:8]}"})


def keep(checkpoints: Checkpoints, training: str, epoch: int, directory: Path) -> None:
    file = directory / "checkpoint.pt"
    file.write_bytes(b"after epoch %d" % epoch)
    checkpoints.keep(training, epoch, RUN, file)


def fetched(checkpoints: Checkpoints, training: str, directory: Path) -> bytes:
    latest = checkpoints.find_latest(training)
    assert latest is not None
    checkpoints.fetch(latest, directory / "fetched.pt")
    return (directory / "fetched.pt").read_bytes()


def test_only_the_latest_checkpoint_is_kept(checkpoints: Checkpoints, tmp_path: Path) -> None:
    for epoch in (1, 2, 3):
        keep(checkpoints, "run/a", epoch, tmp_path)

    assert fetched(checkpoints, "run/a", tmp_path) == b"after epoch 3"
    assert len(checkpoints.store.list_keys(f"{checkpoints.prefix}/run/a/")) == 2
    assert checkpoints.find_latest("run/b") is None


@pytest.mark.parametrize("step", ["upload", "write"])
def test_what_was_written_by_half_leaves_the_checkpoint_before_as_it_was(
    checkpoints: Checkpoints, tmp_path: Path, step: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    keep(checkpoints, "run/a", 1, tmp_path)

    def gone(*_: object) -> None:
        raise ServiceUnavailable("S3 went away")

    with monkeypatch.context() as patch, pytest.raises(ServiceUnavailable):
        patch.setattr(ObjectStore, step, gone)
        keep(checkpoints, "run/a", 2, tmp_path)

    assert fetched(checkpoints, "run/a", tmp_path) == b"after epoch 1"
    keep(checkpoints, "run/a", 3, tmp_path)
    assert fetched(checkpoints, "run/a", tmp_path) == b"after epoch 3"
    assert len(checkpoints.store.list_keys(f"{checkpoints.prefix}/run/a/")) == 2, "the rest of epoch 2 is gone, too"


@pytest.mark.parametrize("content", [b"after epoch 2", b"after", b""])
def test_a_checkpoint_that_was_changed_is_refused(checkpoints: Checkpoints, tmp_path: Path, content: bytes) -> None:
    keep(checkpoints, "run/a", 1, tmp_path)
    latest = checkpoints.find_latest("run/a")
    assert latest is not None
    checkpoints.store.write(latest.key, content)

    with pytest.raises(IntegrityError, match=f"key {latest.key}: has {len(content)} bytes"):
        checkpoints.fetch(latest, tmp_path / "fetched.pt")


def test_a_discarded_training_keeps_nothing_and_the_others_everything(checkpoints: Checkpoints, tmp_path: Path) -> None:
    keep(checkpoints, "run/a", 1, tmp_path)
    keep(checkpoints, "run/b", 1, tmp_path)

    checkpoints.discard("run/a")

    assert checkpoints.find_latest("run/a") is None
    assert fetched(checkpoints, "run/b", tmp_path) == b"after epoch 1"


def test_the_other_trainings_of_a_flow_run_are_named(checkpoints: Checkpoints, tmp_path: Path) -> None:
    for training in ("run/a", "run/b", "another/c"):
        keep(checkpoints, training, 1, tmp_path)

    assert checkpoints.list_others("run/a") == ["run/b"]
    assert checkpoints.list_others("run/new") == ["run/a", "run/b"]
    assert checkpoints.list_others("new/a") == []


def test_flow_runs_that_have_not_written_for_long_lose_their_checkpoints(
    checkpoints: Checkpoints, tmp_path: Path
) -> None:
    keep(checkpoints, "old-run/a", 1, tmp_path)
    time.sleep(2)  # S3 dates what it keeps to the second
    between = time.time()
    time.sleep(2)
    keep(checkpoints, "new-run/a", 1, tmp_path)

    assert checkpoints.discard_abandoned() == []
    patient = checkpoints.model_copy(update={"retention_days": (time.time() - between) * SECOND_DAYS})
    assert patient.discard_abandoned() == ["old-run"]

    assert patient.find_latest("old-run/a") is None
    assert fetched(patient, "new-run/a", tmp_path) == b"after epoch 1"
