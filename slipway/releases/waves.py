"""Waves: the first replica alone, then as many at once as are done already, so that a release grows by doubling.

Whatever is wrong shows on one replica before a second one meets it, and never on more at once than are known to be
well; the time grows with the logarithm of the replicas, as long as the fleet's `loads_at_once` does not bind.
"""

from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor, wait
from contextvars import copy_context
from typing import Generic, NamedTuple, TypeVar

from blocks.errors import ReleaseTakenOver, ServiceUnavailable, SlipwayError
from blocks.run import warn

T = TypeVar("T")
Act = Callable[[str], T]
"""What is done with the replica of an address."""


class Wave(NamedTuple, Generic[T]):
    """What came of replicas that were dealt with at once, by their addresses."""

    done: dict[str, T]
    failed: dict[str, SlipwayError]

    def followed_by(self, again: "Wave[T]") -> "Wave[T]":
        """Return what came of it after some of its replicas were dealt with again."""
        failed = {at: error for at, error in self.failed.items() if at not in again.done}
        return Wave(self.done | again.done, failed | again.failed)

    def raise_worst(self, leave_silent: bool = False) -> None:
        """Raise what says most, the others being logged: an answer says more than silence, which may be waited for.

        With `leave_silent`, a replica that does not answer has not failed.
        """
        silent = {at: error for at, error in self.failed.items() if isinstance(error, ServiceUnavailable)}
        errors = [error for at, error in self.failed.items() if at not in silent]
        errors += [] if leave_silent else silent.values()
        for error in errors[1:]:
            warn(f"failed at the same time: {error}")
        if errors:
            raise errors[0]


def measure_wave(done: int, at_once: int) -> int:
    """Return how many replicas are next: as many as are done, one where none is, `at_once` at most."""
    return min(max(1, done), at_once)


def roll_out(act: Act[T], addresses: Sequence[str], at_once: int) -> Iterator[Wave[T]]:
    """Deal with replicas in waves, and yield each when the last of its replicas has ended; the next waits for that.

    Who iterates decides by what came of a wave whether there is a next one. Raises as `act_together` does.
    """
    done, left = 0, list(addresses)
    while left:
        size = measure_wave(done, at_once)
        wave = act_together(act, left[:size], at_once)
        done, left = done + len(wave.done), left[size:]
        yield wave


def act_together(act: Act[T], addresses: Sequence[str], at_once: int) -> Wave[T]:
    """Deal with all replicas, `at_once` at a time; one that fails keeps no other from it.

    A lost lock is no error of a replica: it is raised, as everything is that is no `SlipwayError`. Where the caller is
    interrupted, what has not begun never does; what has begun ends by its own bound, and changes nothing once the lock
    is another's.
    """
    if not addresses:
        return Wave({}, {})
    pool = ThreadPoolExecutor(min(at_once, len(addresses)))
    try:
        acting = {address: pool.submit(copy_context().run, act, address) for address in addresses}
        wait(acting.values())
    finally:
        pool.shutdown(wait=False, cancel_futures=True)
    failed = {address: error for address, future in acting.items() if (error := _find_error(future)) is not None}
    return Wave({address: future.result() for address, future in acting.items() if address not in failed}, failed)


def _find_error(ended: Future[T]) -> SlipwayError | None:
    error = ended.exception()
    if error is None:
        return None
    if isinstance(error, SlipwayError) and not isinstance(error, ReleaseTakenOver):
        return error
    raise error
