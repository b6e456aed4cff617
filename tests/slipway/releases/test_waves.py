"""How replicas are dealt into waves, what stops the next one, and that the bound holds."""

import threading
from collections.abc import Callable

import pytest

from blocks.errors import LoadFailed, ReleaseTakenOver, ReplicaLost, ServiceUnavailable, SlipwayError
from slipway.releases.waves import Wave, act_together, measure_wave, roll_out

ADDRESSES = [f"replica-{number}:8001" for number in range(64)]


def fail_at(errors: dict[str, SlipwayError]) -> Callable[[str], str]:
    """Return what fails at some addresses, each with its error, and succeeds at the others."""

    def act(address: str) -> str:
        if address in errors:
            raise errors[address]
        return address

    return act


def measure_waves(replicas: int, at_once: int) -> list[int]:
    return [len(wave.done) for wave in roll_out(fail_at({}), ADDRESSES[:replicas], at_once)]


@pytest.mark.parametrize(
    ("replicas", "at_once", "sizes"),
    [
        (0, 32, []),
        (1, 32, [1]),
        (2, 32, [1, 1]),
        (4, 32, [1, 1, 2]),
        (7, 32, [1, 1, 2, 3]),
        (64, 64, [1, 1, 2, 4, 8, 16, 32]),
        (64, 8, [1, 1, 2, 4, *[8] * 7]),
        (5, 1, [1] * 5),
    ],
)
def test_a_wave_is_as_large_as_what_is_done_already(replicas: int, at_once: int, sizes: list[int]) -> None:
    assert measure_waves(replicas, at_once) == sizes


def test_nobody_goes_along_with_the_first_that_is_done() -> None:
    silent = ServiceUnavailable("silent")

    waves = list(roll_out(fail_at({ADDRESSES[0]: silent, ADDRESSES[1]: silent}), ADDRESSES[:6], 32))

    assert [[*wave.done, *wave.failed] for wave in waves] == [
        ADDRESSES[:1],
        ADDRESSES[1:2],
        ADDRESSES[2:3],
        ADDRESSES[3:4],
        ADDRESSES[4:6],
    ]
    assert measure_wave(0, 32) == 1


def test_a_failure_lets_its_wave_end_and_whoever_is_told_of_it_begins_no_other() -> None:
    waves = roll_out(fail_at({ADDRESSES[5]: LoadFailed("refused")}), ADDRESSES, 32)

    with pytest.raises(LoadFailed, match="refused"):
        for wave in waves:
            last = wave
            wave.raise_worst()

    assert list(last.done) == [ADDRESSES[4], ADDRESSES[6], ADDRESSES[7]]


def test_no_more_replicas_are_dealt_with_at_once_than_the_bound_says() -> None:
    full, now, most = threading.Barrier(3), 0, 0
    counting = threading.Lock()

    def act(_: str) -> None:
        nonlocal now, most
        with counting:
            now += 1
            most = max(most, now)
        full.wait(30)  # ends only where as many as the bound says are here
        with counting:
            now -= 1

    assert list(act_together(act, ADDRESSES[:12], 3).done) == ADDRESSES[:12]
    assert most == 3


def test_what_failed_keeps_no_other_from_it_and_may_be_made_good() -> None:
    first = act_together(fail_at({ADDRESSES[1]: LoadFailed("refused"), ADDRESSES[2]: LoadFailed("too")}), ADDRESSES, 8)
    again = act_together(fail_at({ADDRESSES[2]: LoadFailed("still")}), list(first.failed), 8)

    both = first.followed_by(again)

    assert len(first.done) == 62
    assert (len(both.done), {at: str(error) for at, error in both.failed.items()}) == (63, {ADDRESSES[2]: "still"})


def test_an_answer_says_more_than_silence_that_may_be_waited_for() -> None:
    wave = Wave[str]({}, {"a": ReplicaLost("lost"), "b": LoadFailed("refused"), "c": LoadFailed("too")})

    with pytest.raises(LoadFailed, match="refused"):
        wave.raise_worst()
    with pytest.raises(ReplicaLost):
        Wave[str]({}, {"a": ReplicaLost("lost")}).raise_worst()
    Wave[str]({}, {"a": ReplicaLost("lost")}).raise_worst(leave_silent=True)


@pytest.mark.parametrize("error", [ReleaseTakenOver("another's"), ZeroDivisionError()])
def test_a_lost_lock_and_what_nobody_foresaw_end_everything(error: Exception) -> None:
    def act(_: str) -> None:
        raise error

    with pytest.raises(type(error)):
        act_together(act, ADDRESSES[:3], 8)
