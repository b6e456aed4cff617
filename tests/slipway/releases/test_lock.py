"""One holder a model at a time, judged by the store alone; who lost the lock changes nothing more."""

import subprocess
import sys
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest

from blocks.errors import InvalidInput, ReleaseInProgress, ReleaseTakenOver
from blocks.repository import ModelRepository
from infra.local.settings import ROOT
from slipway.releases import lock
from slipway.releases.lock import Fence, LockEntry, acquire, describe_holder, model_lock, read_entry, release
from tests.apparatus.locks import end_lease

HOLDER = """
import sys, time
from blocks.repository import ModelRepository
from slipway.releases.lock import model_lock
from tests.apparatus.stores import bucket_at
with model_lock(sys.argv[2], ModelRepository(bucket=bucket_at(sys.argv[1])), owner="run a"):
    print("held", flush=True)
    time.sleep(600)
"""


@pytest.fixture
def repository(bucket_repository: ModelRepository) -> ModelRepository:
    """A repository in a bucket: another process and another host have to see its lock."""
    return bucket_repository


@pytest.mark.parametrize(
    ("entry", "age_s", "free"),
    [
        (LockEntry(), 0, True),
        (LockEntry(owner="run a", lease_s=30), 30, False),
        (LockEntry(owner="run a", lease_s=30), 30.1, True),
        (LockEntry(owner="run b", lease_s=30), 0, True),
        (LockEntry(owner="run a", lease_s=3600), 60, False),
    ],
    ids=["nobody's", "within its lease", "after it", "its own from before", "a shell session's, within its hour"],
)
def test_a_lock_is_free_where_it_is_nobody_s_one_s_own_or_not_renewed_for_its_lease(
    entry: LockEntry, age_s: float, free: bool
) -> None:
    assert entry.is_free(age_s, "run b") is free


@pytest.mark.parametrize(
    ("owner", "expected"),
    [
        (None, "unknown"),
        ("0192f7b0", "flow run 0192f7b0 on host-1"),
        ("shell-4f1c", "shell session 4f1c on host-1"),
    ],
)
def test_a_holder_is_named_by_what_it_is_and_where_it_runs(owner: str | None, expected: str) -> None:
    assert describe_holder(LockEntry(owner=owner, where="host-1")) == expected


def test_a_second_holder_is_refused_when_the_first_does_not_end_in_time(
    repository: ModelRepository, model_name: str
) -> None:
    with (
        model_lock(model_name, repository, owner="run a"),
        pytest.raises(ReleaseInProgress, match=rf"model '{model_name}': another release \(flow run run a on .*\)"),
        model_lock(model_name, repository, owner="run b", wait_s=1),
    ):
        pass


def test_who_ended_leaves_the_way_free_and_each_holder_has_a_greater_epoch(
    repository: ModelRepository, model_name: str
) -> None:
    epochs = []
    for owner in ("run a", "run b", "run a"):
        with model_lock(model_name, repository, owner=owner, wait_s=0) as fence:
            epochs.append(fence.epoch)

    assert epochs == [1, 2, 3]


def test_who_fails_leaves_the_way_free_at_once(repository: ModelRepository, model_name: str) -> None:
    def fail() -> None:
        with model_lock(model_name, repository, owner="run a"):
            raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        fail()

    acquire(model_name, repository, "run b", wait_s=0)


def test_of_many_that_want_a_lock_at_once_one_gets_it(repository: ModelRepository, model_name: str) -> None:
    def taken(number: int) -> bool:
        try:
            acquire(model_name, repository, f"run {number}", wait_s=0)
        except ReleaseInProgress:
            return False
        return True

    with ThreadPoolExecutor(8) as pool:
        assert sorted(pool.map(taken, range(8))) == [False] * 7 + [True]


def test_a_holder_that_was_not_heard_of_for_its_lease_is_taken_for_dead_by_the_store_s_clock(
    repository: ModelRepository, model_name: str
) -> None:
    acquire(model_name, repository, "run a", lease_s=1)

    fence = acquire(model_name, repository, "run b", wait_s=30)

    assert fence.epoch == 2


def test_what_a_run_held_in_a_process_that_is_gone_it_takes_at_once(
    repository: ModelRepository, model_name: str
) -> None:
    before = acquire(model_name, repository, "run a")

    fence = acquire(model_name, repository, "run a", wait_s=0)

    fence.require()
    with pytest.raises(ReleaseTakenOver, match=r"its lock is run a's, epoch 2, expected run a, epoch 1"):
        before.require()


def test_a_lock_is_renewed_while_it_is_held(
    repository: ModelRepository, model_name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(lock, "LEASE_S", 0.6)

    with model_lock(model_name, repository, owner="run a"):
        give_up = time.monotonic() + 30
        while read_entry(repository.read_lock(model_name)).beat < 3:
            assert time.monotonic() < give_up, "the lock was not renewed"
            time.sleep(0.05)


def test_a_lock_is_let_go_though_a_renewal_that_was_on_its_way_comes_between(
    repository: ModelRepository, model_name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    fence = acquire(model_name, repository, "run a")
    read, reads = ModelRepository.read_lock, []

    def read_and_be_overtaken(*args: Any) -> Any:
        found = read(*args)
        reads.append(found)
        if len(reads) == 1:
            lock.renew(fence)
        return found

    monkeypatch.setattr(ModelRepository, "read_lock", read_and_be_overtaken)
    release(fence)

    assert read_entry(read(repository, model_name)).owner is None
    assert acquire(model_name, repository, "run b", wait_s=0).epoch == fence.epoch + 1


def test_who_lost_the_lock_is_stopped_whatever_it_waits_for(
    repository: ModelRepository, model_name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(lock, "LEASE_S", 0.6)
    assert threading.current_thread() is threading.main_thread()

    def hold_and_wait() -> None:
        with model_lock(model_name, repository, owner="run a"):
            threading.Thread(target=take_over, args=(repository, model_name), daemon=True).start()
            time.sleep(600)

    with pytest.raises(ReleaseTakenOver, match="the model's lock was lost while this run waited"):
        hold_and_wait()


def take_over(repository: ModelRepository, model_name: str) -> Fence:
    """Take a lock from whoever holds it, as one does whose lease has passed; its renewals may come in between."""
    while True:
        try:
            end_lease(repository, model_name)
            return acquire(model_name, repository, "run b", wait_s=0)
        except (AssertionError, ReleaseInProgress):
            continue


def test_a_fenced_repository_changes_nothing_once_the_lock_is_lost(
    repository: ModelRepository, model_name: str
) -> None:
    fence = acquire(model_name, repository, "run a")
    ours = repository.behind(fence.require)
    ours.store.write(f"archive/{model_name}/1/x", b"before")
    ours.claim(model_name, 1, "run a")
    take_over(repository, model_name)
    stored = repository.store.list_keys("")

    for change in (
        lambda: ours.store.write(f"archive/{model_name}/1/x", b"after"),
        lambda: ours.store.create(f"archive/{model_name}/1/y", b"after"),
        lambda: ours.store.copy(f"archive/{model_name}/1/x", f"archive/{model_name}/1/y"),
        lambda: ours.store.delete(f"archive/{model_name}/1/x"),
        lambda: ours.discard_archived(model_name, 1),
        lambda: ours.claim(model_name, 2, "run a"),
        lambda: ours.commit(model_name, "name: 'late'", after=None),
        lambda: ours.write_journal(model_name, "{}", after=None),
    ):
        with pytest.raises(ReleaseTakenOver):
            change()

    assert repository.store.list_keys("") == stored
    assert repository.store.read(f"archive/{model_name}/1/x") == b"before"


def test_a_commit_is_refused_where_another_was_made_between_fence_and_request(
    repository: ModelRepository, model_name: str
) -> None:
    repository.commit(model_name, "name: 'a'\n", after=None, epoch=1, owner="run-a")
    read = repository.read_commit(model_name)
    assert read is not None
    for config in ("name: 'b'\n", "name: 'a'\n"):
        now = repository.read_commit(model_name)
        assert now is not None
        repository.commit(model_name, config, after=now.etag, epoch=2, owner="run-b")

    for late in ("name: 'late'\n", None):
        with pytest.raises(ReleaseTakenOver, match=r"config.pbtxt was changed by somebody else"):
            repository.commit(model_name, late, after=read.etag, epoch=1, owner="run-a")

    found = repository.read_commit(model_name)
    assert found is not None and (found.config, found.epoch, found.owner) == ("name: 'a'\n", 2, "run-b")


def test_the_lock_of_a_process_killed_on_another_host_is_free_after_its_lease_and_no_sooner(
    repository: ModelRepository, model_name: str
) -> None:
    endpoint = repository.store.client.meta.endpoint_url
    command = [sys.executable, "-c", HOLDER, endpoint, model_name]
    holder = subprocess.Popen(command, cwd=ROOT, stdout=subprocess.PIPE, text=True)
    assert holder.stdout is not None and holder.stdout.readline() == "held\n"
    holder.kill()
    holder.wait()

    with pytest.raises(ReleaseInProgress):
        acquire(model_name, repository, "run b", wait_s=0)
    end_lease(repository, model_name)

    release(acquire(model_name, repository, "run b", wait_s=0))


def test_a_holder_s_entry_of_an_earlier_slipway_and_one_nobody_can_read_are_free(
    repository: ModelRepository, model_name: str
) -> None:
    for content in (b'{"lease_id": "x", "flow_run_id": null, "host": "h", "process_id": 1}', b"\xff", b"[]"):
        repository.store.write(f"locks/{model_name}.json", content)

        acquire(model_name, repository, "run a", wait_s=0).require()


def test_a_store_that_ignores_conditions_is_refused(repository: ModelRepository) -> None:
    repository.store.check_conditions("locks/")
    events = repository.store.client.meta.events
    events.register("before-call.s3.PutObject", drop_conditions)

    try:
        with pytest.raises(InvalidInput, match=r"ignores the conditions.*AWS S3, SeaweedFS.*MinIO.*Ceph"):
            repository.store.check_conditions("locks/")
    finally:
        events.unregister("before-call.s3.PutObject", drop_conditions)


def drop_conditions(params: dict[str, Any], **_: object) -> None:
    """Have the store not see what a PUT is conditional on, as one that ignores it."""
    for condition in ("If-Match", "If-None-Match"):
        params["headers"].pop(condition, None)
