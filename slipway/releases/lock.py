"""Whose turn it is to change a model: one lock a model, in the store whose content it protects.

The lock is an object, `locks/<model>.json`. It names its owner and an epoch that grows with each that takes it. It is
taken and renewed by conditional writes alone, and its age is the store's own clock's, so that hosts, clocks and
process numbers decide nothing. A holder that was paused and comes back finds another epoch and is refused before its
next change (`Fence`), whatever it was doing; journal and config.pbtxt are written only over what was read under the
epoch. (Martin Kleppmann, "How to do distributed locking", 2016; Burrows, "The Chubby lock service", 2006.)
"""

import random
import signal
import socket
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from datetime import UTC, datetime
from typing import NamedTuple

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from blocks.bucket_objects import StoredObject
from blocks.environment import Environment
from blocks.errors import ReleaseInProgress, ReleaseTakenOver, ServiceUnavailable
from blocks.repository import ModelRepository
from blocks.run import SHELL_SESSION, get_owner

WAIT_S = 1800.0
LEASE_S = 30.0
SESSION_S = 3600.0
_POLL_S = 0.5
_RENEWALS_A_LEASE = 6
_INTERRUPTION = signal.SIGUSR1


class LockEntry(BaseModel):
    """What the lock says; one of an earlier slipway, whose lock was in Prefect, says nothing and is free."""

    model_config = ConfigDict(frozen=True, extra="ignore")

    epoch: int = Field(default=0, ge=0, description="How often the lock was taken; it only grows.")
    owner: str | None = Field(default=None, description="A flow run or a shell session; None where the lock is free.")
    taken_at: datetime | None = None
    lease_s: float = Field(default=LEASE_S, gt=0, description="Seconds after which a lock not renewed may be taken.")
    beat: int = Field(default=0, description="How often it was renewed, so that no two entries are alike.")
    where: str = Field(default="", description="The holder's host, for people; nothing is decided by it.")

    def is_free(self, age_s: float, claimant: str) -> bool:
        """Tell whether a claimant may take it: nobody's, its own from before, or not renewed for its whole lease."""
        return self.owner in {None, claimant} or age_s > self.lease_s


class Fence(NamedTuple):
    """What stands before each change of a model: that the lock still is this holder's."""

    repository: ModelRepository
    model_name: str
    owner: str
    epoch: int

    def require(self) -> None:
        """Raise `ReleaseTakenOver` unless the store says that the lock is this holder's, in this epoch."""
        entry = read_entry(self.repository.read_lock(self.model_name))
        if (entry.owner, entry.epoch) != (self.owner, self.epoch):
            now = f"is {entry.owner}'s, epoch {entry.epoch}" if entry.owner else f"is free, epoch {entry.epoch}"
            raise ReleaseTakenOver(
                f"model '{self.model_name}': its lock {now}, expected {self.owner}, epoch {self.epoch}; another run "
                "took this one for dead, so nothing more is changed: see `make status`, then release again"
            )

    def around(self, environment: Environment) -> Environment:
        """Return an environment that asks this fence right before each change."""
        return environment.behind(self.require, self.epoch)


def read_entry(found: StoredObject | None) -> LockEntry:
    """Return what a lock says; one that nobody can read is free, and taking it mends it."""
    if found is None:
        return LockEntry()
    try:
        return LockEntry.model_validate_json(found.content)
    except ValidationError:
        return LockEntry()


@contextmanager
def model_lock(
    model_name: str, repository: ModelRepository, owner: str | None = None, wait_s: float = WAIT_S
) -> Iterator[Fence]:
    """Hold a model's lock, renewed by a thread, and yield the fence to put before each change.

    A holder that died, or was not heard of, keeps it for one lease at most. A holder that loses the lock is stopped
    at once with `ReleaseTakenOver`, where it runs in its process's main thread; elsewhere its next change is refused.

    Args:
        model_name: the model.
        repository: where the lock is.
        owner: who takes it; left out, this flow run. What it held before, in a process that is gone, it takes at once.
        wait_s: seconds to wait for another holder; `ReleaseInProgress` afterwards.
    """
    fence = acquire(model_name, repository, owner or get_owner(), wait_s=wait_s)
    with keeping(fence):
        yield fence


def acquire(
    model_name: str, repository: ModelRepository, owner: str, wait_s: float = WAIT_S, lease_s: float | None = None
) -> Fence:
    """Take a model's lock and return its fence; nobody renews it. `ReleaseInProgress` after `wait_s` seconds."""
    deadline = time.monotonic() + wait_s
    while True:
        found = repository.read_lock(model_name)
        entry = read_entry(found)
        if found is None or entry.is_free(found.measure_age(), owner):
            epoch = 1 + max(entry.epoch, _read_committed_epoch(repository, model_name) if entry.epoch == 0 else 0)
            taken = LockEntry(
                epoch=epoch,
                owner=owner,
                taken_at=datetime.now(UTC),
                lease_s=lease_s or LEASE_S,
                where=socket.gethostname(),
            )
            if repository.write_lock(model_name, taken.model_dump_json(), found.etag if found else None) is not None:
                return Fence(repository, model_name, owner, epoch)
        if time.monotonic() >= deadline:
            raise ReleaseInProgress(
                f"model '{model_name}': another release ({describe_holder(entry)}) has held its lock for {wait_s:g} s; "
                "wait for it or cancel it, then try again"
            )
        time.sleep(random.uniform(0.1, _POLL_S))  # noqa: S311, so that two who wait do not wake together


def renew(fence: Fence, lease_s: float | None = None) -> None:
    """Renew a lock; `ReleaseTakenOver` where it was lost."""
    found = fence.repository.read_lock(fence.model_name)
    entry = read_entry(found)
    if found is not None and (entry.owner, entry.epoch) == (fence.owner, fence.epoch):
        again = entry.model_copy(update={"beat": entry.beat + 1, "lease_s": lease_s or LEASE_S})
        if fence.repository.write_lock(fence.model_name, again.model_dump_json(), found.etag) is not None:
            return
    fence.require()


def release(fence: Fence) -> None:
    """Let a lock go, its epoch kept; one that was lost meanwhile is left alone.

    A renewal that was on its way may come between reading and writing: then it is read again.
    """
    while (found := fence.repository.read_lock(fence.model_name)) is not None:
        entry = read_entry(found)
        if (entry.owner, entry.epoch) != (fence.owner, fence.epoch):
            return
        free = entry.model_copy(update={"owner": None})
        if fence.repository.write_lock(fence.model_name, free.model_dump_json(), found.etag) is not None:
            return


def describe_holder(entry: LockEntry) -> str:
    """Return who holds a lock, for messages."""
    if entry.owner is None:
        return "unknown"
    kind = "shell session" if entry.owner.startswith(SHELL_SESSION) else "flow run"
    return f"{kind} {entry.owner.removeprefix(SHELL_SESSION)} on {entry.where or 'an unknown host'}"


def _read_committed_epoch(repository: ModelRepository, model_name: str) -> int:
    """Return the epoch of the committed config.pbtxt: where a lock was deleted by hand, epochs go on from there."""
    with suppress(Exception):  # whatever is wrong with the file, the lock is not what mends it
        commit = repository.read_commit(model_name)
        return commit.epoch if commit is not None else 0
    return 0


@contextmanager
def keeping(fence: Fence) -> Iterator[None]:
    """Renew a lock until the block ends, then let it go."""
    holding = _Holding()
    try:
        with holding.interruptible():
            threading.Thread(target=_keep, args=(fence, holding), daemon=True).start()
            try:
                yield
            finally:
                holding.end()
    finally:
        with suppress(ServiceUnavailable):  # it ends by itself, one lease from now
            release(fence)


def _keep(fence: Fence, holding: "_Holding") -> None:
    while not holding.ended.wait(LEASE_S / _RENEWALS_A_LEASE):
        try:
            renew(fence)
        except ReleaseTakenOver:
            holding.lose()
            return
        except Exception:  # noqa: BLE001, S112, a store that does not answer now is asked again
            continue


class _Holding:
    """A lock while it is held; where it is lost, the thread that holds it is stopped, whatever it waits for.

    Only a process's main thread can be stopped, by a signal; another one meets the fence at its next change.
    """

    def __init__(self) -> None:
        self.ended = threading.Event()
        self._deciding = threading.Lock()
        self._lost = False
        self._thread_id = threading.get_ident() if threading.current_thread() is threading.main_thread() else None

    def end(self) -> None:
        with self._deciding:
            self.ended.set()

    def lose(self) -> None:
        with self._deciding:
            if self._thread_id is not None and not self.ended.is_set():
                self._lost = True
                signal.pthread_kill(self._thread_id, _INTERRUPTION)

    @contextmanager
    def interruptible(self) -> Iterator[None]:
        if self._thread_id is None:
            yield
            return
        before = signal.signal(_INTERRUPTION, self._stop)
        try:
            yield
        finally:
            # never back to the default, by which a signal that is on its way would end the process
            signal.signal(_INTERRUPTION, before if callable(before) else signal.SIG_IGN)

    def _stop(self, *_: object) -> None:
        if self._lost and not self.ended.is_set():
            raise ReleaseTakenOver(
                "the model's lock was lost while this run waited: another run took it for dead; nothing more is "
                "changed: see `make status`, then release again"
            )
