"""Moments as others write them down: read in one place, always with a time zone, never in the future."""

from datetime import UTC, datetime, timedelta
from typing import Annotated

from pydantic import AfterValidator

from blocks.errors import InvalidInput

SKEW = timedelta(minutes=5)  # by which two machines' clocks may differ
EARLIEST = datetime(2018, 6, 1, tzinfo=UTC)  # MLflow is not older


def check_moment(moment: datetime) -> datetime:
    """Return a moment in UTC; `ValueError` where it has no time zone, is yet to come or lies before MLflow's time."""
    if moment.tzinfo is None or moment.utcoffset() is None:
        raise ValueError(f"time {moment.isoformat()}: expected a time zone, say {moment.isoformat()}+00:00")
    if not EARLIEST <= moment <= datetime.now(UTC) + SKEW:
        allowed = f"from {EARLIEST:%Y-%m-%d} to now, give or take {SKEW.seconds} s"
        raise ValueError(f"time {moment.isoformat()}: expected one {allowed}; compare the clocks")
    return moment.astimezone(UTC)


Moment = Annotated[datetime, AfterValidator(check_moment)]


def read_moment(text: str, subject: str) -> datetime:
    """Return a moment that was recorded as text, in UTC where it names no time zone.

    Raises `InvalidInput`, which begins with the subject, where the text is no moment or none that can have been.
    """
    try:
        moment = datetime.fromisoformat(text)
        return check_moment(moment if moment.tzinfo else moment.replace(tzinfo=UTC))
    except ValueError as error:
        expected = "expected an ISO 8601 time that has been: mend or remove it"
        raise InvalidInput(f"{subject} is {text[:80]!r} ({str(error)[:200]}); {expected}") from error
