"""A run that is told to end, by an eviction or a cancellation: it ends so, whatever breaks in the same moment."""

from collections.abc import Iterator
from contextlib import contextmanager

from prefect.exceptions import TerminationSignal


@contextmanager
def ending_when_told() -> Iterator[None]:
    """Raise the `TerminationSignal` that an error of the block came from, in the place of that error.

    Prefect's task engine takes note of a SIGTERM on the task run; where one comes before there is a task run, a
    `ValueError` says so instead. The run would fail, and nobody would execute it again.
    """
    try:
        yield
    except Exception as error:
        if (told := find_termination(error)) is not None:
            raise told from error
        raise


def find_termination(error: BaseException) -> TerminationSignal | None:
    """Return the signal to end that was being handled when an error was raised, None where there was none."""
    found: BaseException | None = error
    while found is not None and not isinstance(found, TerminationSignal):
        found = found.__cause__ or found.__context__
    return found
