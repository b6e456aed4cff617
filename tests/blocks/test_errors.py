"""An error's message is never too long for who keeps it, and says how it begins and how it ends."""

import pytest

from blocks.errors import InvalidInput, SlipwayError, bounded


def test_a_short_text_is_left_as_it_is() -> None:
    assert bounded(" too\nshort ") == "too short"


@pytest.mark.parametrize("length", [801, 5_000, 5_000_000])
def test_of_a_long_text_head_and_tail_are_kept(length: int) -> None:
    shown = bounded("head " + "x" * length + " tail")

    assert (shown[:5], shown[-5:]) == ("head ", " tail")
    assert len(shown) <= 800


@pytest.mark.parametrize("error", [SlipwayError, InvalidInput])
def test_no_error_has_a_message_that_a_database_refuses(error: type[SlipwayError]) -> None:
    message = str(error("model 'm': " + "x" * 50_000_000 + "; do that"))

    assert len(message) <= 4000 and message.startswith("model 'm'") and message.endswith("; do that")
