"""A stranger's thousand refusals are two lines of the log a minute, and none of them goes uncounted."""

import logging

import pytest

from infra.events.quiet import FirstThenCount


class Lines(logging.Handler):
    def __init__(self) -> None:
        super().__init__()
        self.texts: list[str] = []

    def emit(self, record: logging.LogRecord) -> None:
        self.texts.append(record.getMessage())


@pytest.fixture
def held_back() -> FirstThenCount:
    return FirstThenCount()


@pytest.fixture
def log(held_back: FirstThenCount) -> logging.Logger:
    log = logging.getLogger("tests.quiet")
    log.filters = [held_back]
    return log


@pytest.fixture
def lines(log: logging.Logger) -> Lines:
    lines = Lines()
    log.addHandler(lines)
    return lines


def test_the_first_of_a_kind_is_written_and_the_others_are_counted(
    log: logging.Logger, lines: Lines, held_back: FirstThenCount
) -> None:
    for number in range(245):
        log.warning("delivery forged: %s", f"number {number}")
    log.warning("delivery stale: sent yesterday")
    held_back.tell()
    held_back.tell()

    assert lines.texts == [
        "delivery forged: number 0",
        "delivery stale: sent yesterday",
        "244 more since then of: delivery forged: %s",
    ]


def test_after_the_count_the_next_is_written_again(
    log: logging.Logger, lines: Lines, held_back: FirstThenCount
) -> None:
    log.warning("delivery forged")
    held_back.tell()
    log.warning("delivery forged")

    assert lines.texts == ["delivery forged"] * 2


def test_what_went_well_and_what_is_an_error_of_ours_is_always_written(log: logging.Logger, lines: Lines) -> None:
    log.setLevel(logging.INFO)
    for _ in range(3):
        log.info("deploy created of m passed on")
        try:
            raise OSError("ours")
        except OSError:
            log.exception("an error")

    assert len(lines.texts) == 6
