"""A run that is told to end is not taken for one that failed."""

import signal
from collections.abc import Iterator

import pytest
from prefect import task
from prefect.exceptions import TerminationSignal

from flows.running.termination import ending_when_told
from infra.local.settings import LocalStack


class Interrupted(list[int]):
    """A parameter at which a SIGTERM comes, while Prefect still looks for what a task run depends on."""

    def __iter__(self) -> Iterator[int]:
        raise TerminationSignal(signal.SIGTERM)


@task
def count(values: list[int]) -> int:
    return len(values)


def test_a_run_that_is_told_to_end_before_its_task_has_a_run_ends_as_told(stack: LocalStack) -> None:
    with pytest.raises(ValueError, match="Task run is not set"):  # once this is mended in Prefect, ours can go
        count(Interrupted())

    with pytest.raises(TerminationSignal), ending_when_told():
        count(Interrupted())


def test_an_error_that_came_of_no_signal_stays_what_it_is() -> None:
    def fail() -> None:
        try:
            raise KeyError("first")
        except KeyError:
            raise ValueError("second") from None

    with pytest.raises(ValueError, match="second"), ending_when_told():
        fail()
