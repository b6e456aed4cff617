"""Whatever a delivery's headers and body say, it is believed or refused with a 4xx, and never an error of ours."""

import json
import math
import time
import uuid
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from infra.events.delivery import (
    ID_HEADER,
    LONGEST_BODY_S,
    SIGNATURE_HEADER,
    TIME_HEADER,
    Headers,
    Refused,
    Remembered,
    check_age,
    check_signature,
    check_times_agree,
    parse,
)
from tests.apparatus.deliveries import alias_body, signed

SECRET = "s" * 20
NUMBERS = ["nan", "NaN", "inf", "-inf", "1e400", "1e3", "-1", "1.5", "0x10", "1_000", "٣", "²", " 3 ", "", "9" * 5000]
ARABIC = "1700000000".translate({ord("0") + digit: 0x660 + digit for digit in range(10)})
LISTS: list[Any] = [[], [3], {}, {"version": 3}, True, False]


def headers(**changes: str) -> dict[str, str]:
    return signed(alias_body("m"), SECRET) | changes


@pytest.mark.parametrize("sent", [*NUMBERS, str(10**400), ARABIC, "1" * 13])
def test_a_time_that_is_no_number_of_seconds_is_malformed(sent: str) -> None:
    with pytest.raises(Refused) as refused:
        Headers.of(headers(**{TIME_HEADER: sent}))

    assert (refused.value.outcome, refused.value.status) == ("malformed", 400)
    assert len(str(refused.value)) < 400


@pytest.mark.parametrize("sent", ["", "3", "nan", "g" * 32, "9" * 5000, "\x00" * 36])
def test_an_id_that_is_no_uuid_is_malformed(sent: str) -> None:
    with pytest.raises(Refused, match="expected x-mlflow-delivery-id"):
        Headers.of(headers(**{ID_HEADER: sent}))


@pytest.mark.parametrize("sent", ["", "v1,", "v2,abc", "v1,é", "\x00", "x" * 10_000])
def test_a_signature_that_is_none_is_forged(sent: str) -> None:
    with pytest.raises(Refused) as refused:
        check_signature(Headers.of(headers(**{SIGNATURE_HEADER: sent})), alias_body("m"), [SECRET.encode()])

    assert (refused.value.outcome, refused.value.status) == ("forged", 401)


def body(**changes: Any) -> bytes:
    """Return an alias event with something changed in it, or in its data."""
    event: dict[str, Any] = json.loads(alias_body("m"))
    for name, value in changes.items():
        (event["data"] if name in event["data"] else event)[name] = value
    return json.dumps(event).encode()


@pytest.mark.parametrize("version", [*NUMBERS, *LISTS, 0, -1, 1.0, 1.5, 2**31, 10**30, math.nan, math.inf, None])
def test_a_version_that_is_no_number_is_malformed(version: Any) -> None:
    assert malformed(body(version=version)).startswith("data.version: " if version is not None else "body: ")


@pytest.mark.parametrize("name", ["", "x" * 257, "a\x00b", "a\nb", "\x7f", 3, None, math.nan, *LISTS])
def test_a_name_that_is_no_text_is_malformed(name: Any) -> None:
    assert malformed(body(name=name)).startswith("data.name: ")
    assert malformed(body(alias=name)).startswith("data.alias: ")


@pytest.mark.parametrize(
    "time_told",
    [
        "2026-11-26T07:00:00",
        "2099-01-01T00:00:00+00:00",
        "0001-01-01T00:00:00+14:00",
        "9999-12-31T23:59:59-14:00",
        10**400,
        -1,
        math.nan,
        *NUMBERS[:5],
        *LISTS,
        None,
    ],
)
def test_a_time_of_no_zone_or_that_cannot_have_been_is_malformed(time_told: Any) -> None:
    assert malformed(body(timestamp=time_told)).startswith("timestamp: ")


@pytest.mark.parametrize(
    "raw", [b"", b"{", b"null", b"NaN", b"[" * 60_000, b'{"data":' * 8_000, b"\xff\xfe", b'"\\ud800"', b"1e400"]
)
def test_a_body_that_is_no_event_is_malformed(raw: bytes) -> None:
    assert malformed(raw)


def test_a_name_in_any_script_and_a_version_as_a_number_are_read() -> None:
    data = parse(body(name="modèle-ö 模型", version=3)).data

    assert (data.name, data.version) == ("modèle-ö 模型", 3)
    assert parse(body(action="deleted", version=None)).data.version is None


def malformed(raw: bytes) -> str:
    with pytest.raises(Refused) as refused:
        parse(raw)
    assert (refused.value.outcome, refused.value.status) == ("malformed", 400)
    assert len(str(refused.value)) < 600
    return str(refused.value)


@pytest.mark.parametrize("apart_s", [-200, 200])
def test_a_body_of_another_time_than_its_headers_is_stale(apart_s: float) -> None:
    now = int(time.time())
    told = Headers(uuid.uuid4(), now, "")
    of_then = body(timestamp=(datetime.fromtimestamp(now, UTC) + timedelta(seconds=apart_s)).isoformat())
    check_age(told, now, 100)

    with pytest.raises(Refused) as refused:
        check_times_agree(told, parse(of_then), 100)

    assert (refused.value.outcome, refused.value.status) == ("stale", 401)


def test_a_body_of_its_headers_time_is_believed() -> None:
    check_times_agree(Headers(uuid.uuid4(), int(time.time()), ""), parse(alias_body("m")), 300)


class Clock:
    """A clock that a test sets."""

    def __init__(self) -> None:
        self.now_s = 1_700_000_000.0

    def __call__(self) -> float:
        return self.now_s


def is_refused(remembered: Remembered, delivery_id: uuid.UUID) -> bool:
    try:
        remembered.take(delivery_id)
    except Refused as refusal:
        assert (refusal.outcome, refusal.status) == ("duplicate", 409)
        return True
    return False


def test_an_id_is_refused_for_as_long_as_its_age_would_be_believed() -> None:
    clock, delivery_id = Clock(), uuid.uuid4()
    remembered = Remembered(100, timer=clock)
    told = Headers(delivery_id, int(clock.now_s) + 100, "")
    check_age(told, clock.now_s, 100)
    remembered.take(delivery_id)

    clock.now_s += 200
    check_age(told, clock.now_s, 100)
    assert is_refused(remembered, delivery_id)

    clock.now_s += LONGEST_BODY_S + 1
    with pytest.raises(Refused, match="sent 161 s ago"):
        check_age(told, clock.now_s, 100)
    assert not is_refused(remembered, delivery_id)


def test_an_id_that_is_forgotten_may_come_again() -> None:
    remembered, delivery_id = Remembered(100), uuid.uuid4()
    remembered.take(delivery_id)

    remembered.forget(delivery_id)
    remembered.forget(uuid.uuid4())

    assert not is_refused(remembered, delivery_id)
    assert is_refused(remembered, delivery_id)


def test_where_too_many_ids_are_remembered_the_oldest_makes_room() -> None:
    remembered, ids = Remembered(100, most=3), [uuid.uuid4() for _ in range(4)]
    for delivery_id in ids[:3]:
        remembered.take(delivery_id)
    assert is_refused(remembered, ids[0]), "it is not made younger by being asked for"

    remembered.take(ids[3])

    assert [is_refused(remembered, delivery_id) for delivery_id in ids[1:]] == [True, True, True]
    assert not is_refused(remembered, ids[0])
