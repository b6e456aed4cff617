"""Where a run keeps a model's files: a directory of its own, which nobody else reads and which goes when it ends."""

import atexit
import fcntl
import os
import shutil
import tempfile
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager, suppress
from contextvars import ContextVar
from functools import cache
from pathlib import Path

_PREFIX = "slipway-run-"
_UNFINISHED = ".slipway-new-"
_current: ContextVar[Path | None] = ContextVar("workspace", default=None)


@contextmanager
def private_workspace() -> Iterator[Path]:
    """Yield a new directory that `workspace` names meanwhile; it is removed however the block ends."""
    with _directory_of_our_own() as directory:
        token = _current.set(directory)
        try:
            yield directory
        finally:
            _current.reset(token)


def workspace() -> Path:
    """Return the directory of this run, or of this process where nothing else was made: a step run from a shell."""
    return _current.get() or _of_this_process(os.getpid())


def remove_leftovers() -> None:
    """Remove the directories of processes that were killed: those on which nobody holds a lock any more."""
    for leftover in _root().glob(f"{_PREFIX}*"):
        with suppress(OSError):  # its owner lives, another user's, or gone meanwhile
            lock = _lock(leftover)
            try:
                shutil.rmtree(leftover, ignore_errors=True)
            finally:
                os.close(lock)


def _root() -> Path:
    return Path(os.environ.get("SLIPWAY_WORKSPACE") or tempfile.gettempdir())


@contextmanager
def _directory_of_our_own() -> Iterator[Path]:
    """Yield a new directory of mode 0700, locked as long as it is used: the kernel lets go when its process ends."""
    root, owner = _root(), os.getpid()
    root.mkdir(parents=True, exist_ok=True)
    remove_leftovers()
    directory, lock = _locked_directory(root)
    try:
        yield directory
    finally:
        if os.getpid() == owner:  # not a process that was forked meanwhile
            shutil.rmtree(directory, ignore_errors=True)
        os.close(lock)


def _locked_directory(root: Path) -> tuple[Path, int]:
    """Make a directory that has its final name only once it is locked, so that nobody takes it for a leftover."""
    unfinished = Path(tempfile.mkdtemp(dir=root, prefix=_UNFINISHED))
    lock = _lock(unfinished)
    return unfinished.rename(root / unfinished.name.replace(_UNFINISHED, _PREFIX)), lock


def _lock(directory: Path) -> int:
    """Return an open file that holds the lock of a directory of ours; an OSError where another process has it."""
    opened = os.open(directory, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW)
    try:
        if os.fstat(opened).st_uid != os.geteuid():
            raise PermissionError(f"{directory} is another user's")
        fcntl.flock(opened, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError:
        os.close(opened)
        raise
    return opened


@cache
def _of_this_process(process_id: int) -> Path:  # noqa: ARG001  # a forked process makes one of its own
    kept = ExitStack()
    atexit.register(kept.close)
    return kept.enter_context(_directory_of_our_own())
