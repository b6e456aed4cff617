"""A moment that somebody wrote down is in UTC and can have been, or it is refused with what is wrong with it."""

from datetime import UTC, datetime, timedelta

import pytest
from pydantic import TypeAdapter, ValidationError

from blocks.errors import InvalidInput
from blocks.moments import SKEW, Moment, read_moment

SOON, LATER = SKEW - timedelta(seconds=30), SKEW + timedelta(seconds=30)
NEVER = [
    "2099-01-01T00:00:00+00:00",
    "0001-01-01T00:00:00+14:00",
    "9999-12-31T23:59:59-14:00",
    "1970-01-01T00:00:00+00:00",
]


def test_a_moment_is_told_in_utc() -> None:
    assert read_moment("2026-02-03T10:00:00+02:00", "tag").isoformat() == "2026-02-03T08:00:00+00:00"
    assert TypeAdapter(Moment).validate_python("2026-02-03T10:00:00+02:00").isoformat() == "2026-02-03T08:00:00+00:00"


def test_a_record_without_a_time_zone_is_in_utc_a_parameter_without_one_is_refused() -> None:
    assert read_moment("2026-02-03T10:00:00", "tag") == datetime(2026, 2, 3, 10, tzinfo=UTC)
    with pytest.raises(ValidationError, match=r"expected a time zone, say 2026-02-03T10:00:00\+00:00"):
        TypeAdapter(Moment).validate_python("2026-02-03T10:00:00")


def test_clocks_may_differ_by_minutes_not_by_more() -> None:
    now = datetime.now(UTC)

    assert read_moment((now + SOON).isoformat(), "tag") == now + SOON
    with pytest.raises(InvalidInput, match="to now, give or take 300 s"):
        read_moment((now + LATER).isoformat(), "tag")


@pytest.mark.parametrize("text", ["", "yesterday", "NaN", "1e400", "9" * 5000, "٢٠٢٦-٠٢-٠٣", *NEVER])
def test_what_is_no_moment_is_named_with_its_subject_in_a_bounded_text(text: str) -> None:
    with pytest.raises(InvalidInput, match=r"^model 'm': its tag t is '") as refused:
        read_moment(text, "model 'm': its tag t")

    assert len(str(refused.value)) < 600


@pytest.mark.parametrize("value", [*NEVER, "NaN", float("inf"), 10**30, -1, [], {}])
def test_a_parameter_that_is_no_moment_is_refused(value: object) -> None:
    with pytest.raises(ValidationError):
        TypeAdapter(Moment).validate_python(value)
