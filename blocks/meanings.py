"""How each vendor's errors are read: one table per vendor, the most specific first (`replica_errors`, and so on)."""

import re
from collections.abc import Iterable
from enum import Enum
from typing import NamedTuple

from blocks.errors import SlipwayError


class Answer(Enum):
    """What a vendor calls an error, and is the answer to what was asked for."""

    REFUSED = "what was asked for cannot be done"
    ABSENT = "there is nothing of that name"
    CHANGED = "there is another of that name by now"


class Meaning(NamedTuple):
    """What a status, or a vendor's code, means where its text begins with a phrase, a regular expression."""

    status: str
    phrase: str
    means: type[SlipwayError] | Answer
    advice: str = ""


def find_meaning(meanings: Iterable[Meaning], status: str, text: str) -> Meaning | None:
    """Return the first meaning of a status whose phrase the text begins with, None where the table has none."""
    return next((m for m in meanings if m.status == status and re.match(m.phrase, text, re.DOTALL)), None)
