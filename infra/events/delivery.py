"""A webhook delivery as MLflow sends it, believed only after its signature, age and form were checked.

MLflow follows https://www.standardwebhooks.com: the signature covers the delivery's id, its time and its body.
"""

import base64
import hashlib
import hmac
import re
import time
from collections.abc import Callable, Iterable, Mapping
from typing import Annotated, Any, Literal, NamedTuple, Self
from uuid import UUID

from cachetools import TTLCache
from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, StringConstraints, ValidationError, model_validator

from blocks.moments import Moment

ID_HEADER, TIME_HEADER, SIGNATURE_HEADER = "x-mlflow-delivery-id", "x-mlflow-timestamp", "x-mlflow-signature"
MOST_REMEMBERED = 100_000
LONGEST_BODY_S = 60.0  # bounds what may pass between the check of an age and that of an id
_SECONDS = re.compile("[0-9]{1,12}", re.ASCII)
_NUMBER = re.compile("[1-9][0-9]{0,9}", re.ASCII)


def _number(value: Any) -> int:
    """Return a version, which MLflow sends as text; nothing is made a number that is not written as one."""
    if isinstance(value, bool) or not isinstance(value, int | str) or not _NUMBER.fullmatch(str(value)[:20]):
        raise ValueError("expected a version number, say '3'")
    return int(value)


Name = Annotated[str, StringConstraints(min_length=1, max_length=256, pattern=r"^[^\x00-\x1f\x7f]+$")]
Version = Annotated[int, BeforeValidator(_number), Field(le=2**31 - 1)]


class Refused(Exception):
    """Raised when a delivery is not believed; `outcome` is what it is counted as, `status` the HTTP answer."""

    def __init__(self, outcome: str, status: int, reason: str) -> None:
        super().__init__(reason)
        self.outcome = outcome
        self.status = status


class AliasData(BaseModel):
    """What MLflow says about an alias; `version` is a number, sent as text, and missing where the alias is gone."""

    model_config = ConfigDict(frozen=True, extra="ignore")

    name: Name
    alias: Name
    version: Version | None = None


class AliasDelivery(BaseModel):
    """One alias that was set or removed."""

    model_config = ConfigDict(frozen=True, extra="ignore")

    entity: Literal["model_version_alias"]
    action: Literal["created", "deleted"]
    timestamp: Moment
    data: AliasData

    @model_validator(mode="after")
    def _set_on_a_version(self) -> Self:
        if self.action == "created" and self.data.version is None:
            raise ValueError("an alias that was set names no version")
        return self


class Headers(NamedTuple):
    """The three headers a delivery is checked by."""

    delivery_id: UUID
    timestamp: int
    signature: str

    @classmethod
    def of(cls, headers: Mapping[str, str]) -> "Headers":
        """Read the headers; `Refused` where one is missing or has no such form."""
        try:
            if not _SECONDS.fullmatch(sent := headers[TIME_HEADER]):
                raise ValueError(f"{TIME_HEADER} is {sent[:40]!r}")
            return cls(UUID(headers[ID_HEADER]), int(sent), headers[SIGNATURE_HEADER])
        except (KeyError, ValueError) as error:
            expected = f"{ID_HEADER} (a UUID), {TIME_HEADER} (seconds) and {SIGNATURE_HEADER}"
            raise Refused("malformed", 400, f"headers: {error!r}; expected {expected}") from error


def signature(delivery_id: UUID, timestamp: int, body: bytes, secret: bytes) -> str:
    """Return what MLflow signs a body with."""
    signed = f"{delivery_id}.{timestamp}.".encode() + body
    return "v1," + base64.b64encode(hmac.new(secret, signed, hashlib.sha256).digest()).decode()


def check_signature(headers: Headers, body: bytes, secrets: Iterable[bytes]) -> None:
    """Raise `Refused` unless one of the secrets signed this body, id and time; takes the same time either way."""
    believed, observed = False, headers.signature.encode()
    for secret in secrets:
        expected = signature(headers.delivery_id, headers.timestamp, body, secret)
        believed |= hmac.compare_digest(observed, expected.encode())
    if not believed:
        raise Refused("forged", 401, "the signature is not MLflow's; expected one made with SLIPWAY_WEBHOOK_SECRET")


def check_age(headers: Headers, now_s: float, max_age_s: float) -> None:
    """Raise `Refused` for a delivery from too long ago, or from the future."""
    age_s = now_s - headers.timestamp
    if abs(age_s) > max_age_s:
        raise Refused("stale", 401, f"sent {age_s:.0f} s ago, expected at most {max_age_s:.0f} s: compare the clocks")


def check_times_agree(headers: Headers, delivery: AliasDelivery, max_age_s: float) -> None:
    """Raise `Refused` where body and header, which MLflow writes at the same moment, tell different times."""
    apart_s = abs(delivery.timestamp.timestamp() - headers.timestamp)
    if apart_s > max_age_s:
        times = f"the body's time is {delivery.timestamp.isoformat()}, {apart_s:.0f} s from the header's"
        raise Refused("stale", 401, f"{times}; expected at most {max_age_s:.0f} s")


def parse(body: bytes) -> AliasDelivery:
    """Return what a believed delivery says; `Refused` where that is no alias of a model slipway could release."""
    try:
        return AliasDelivery.model_validate_json(body)
    except ValidationError as error:
        first = error.errors(include_url=False, include_input=False)[0]
        where = ".".join(map(str, first["loc"])) or "body"
        raise Refused("malformed", 400, f"{where}: {first['msg']}; expected a model_version_alias event") from error


class Remembered:
    """The ids of the deliveries of the last minutes: one that comes again is refused, wherever it was recorded.

    Older ones are refused by their age. What several replicas of the service do not know of each other is caught by
    the events' ids.

    Args:
        max_age_s: seconds a delivery's time may lie before or after now; its id is remembered for longer than both.
        timer: tells the time as those do who check the age.
        most: ids that are remembered at once.
    """

    def __init__(self, max_age_s: float, timer: Callable[[], float] = time.time, most: int = MOST_REMEMBERED) -> None:
        self._seen: TTLCache[UUID, None] = TTLCache(most, ttl=2 * max_age_s + LONGEST_BODY_S, timer=timer)

    def take(self, delivery_id: UUID) -> None:
        """Remember an id, in the place of the oldest where there are too many; `Refused` where it is known already."""
        if delivery_id in self._seen:
            raise Refused("duplicate", 409, f"delivery {delivery_id} was accepted before; nothing is to be done")
        self._seen[delivery_id] = None

    def forget(self, delivery_id: UUID) -> None:
        """Let a delivery that could not be passed on come again."""
        self._seen.pop(delivery_id, None)
