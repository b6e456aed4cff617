"""What an error says is never too long for who keeps it, and what it is about survives being sent elsewhere."""

import pickle
from collections.abc import Callable, Iterable
from operator import attrgetter

import cloudpickle  # type: ignore[import-untyped]  # as Prefect stores errors
import pytest

from blocks.errors import (
    AccessRefused,
    ApprovalRefused,
    GateRefused,
    InvalidInput,
    LoadFailed,
    NoRoom,
    ReleaseInProgress,
    ReplicaLost,
    ServiceLevelMissed,
    ServiceUnavailable,
    SlipwayError,
    Transient,
    ValidationFailed,
    VerificationFailed,
    bounded,
)
from infra.local.settings import ROOT

TRANSIENT = {ServiceUnavailable, ReplicaLost, ReleaseInProgress}
OF_GATES = {ValidationFailed, ServiceLevelMissed, NoRoom, ApprovalRefused}


def kinds(error: type[SlipwayError] = SlipwayError) -> set[type[SlipwayError]]:
    """Return every error of the tree."""
    below = {kind for child in error.__subclasses__() if child.__module__ == error.__module__ for kind in kinds(child)}
    return {error} | below


def in_order(errors: Iterable[type[SlipwayError]]) -> list[type[SlipwayError]]:
    """Return errors by their names: every process of a test session has to find the same tests."""
    return sorted(errors, key=attrgetter("__name__"))


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


@pytest.mark.parametrize("dumps", [pickle.dumps, cloudpickle.dumps], ids=["pickle", "cloudpickle"])
@pytest.mark.parametrize("kind", in_order(kinds()))
def test_what_an_error_is_about_arrives_with_it_in_another_process(
    kind: type[SlipwayError], dumps: Callable[[object], bytes]
) -> None:
    error = kind("model 'm' version 3: is broken; mend it", model_name="m", version=3, address="a:8001")

    arrived = pickle.loads(dumps(error))

    assert (type(arrived), str(arrived)) == (kind, "model 'm' version 3: is broken; mend it")
    assert (arrived.model_name, arrived.version, arrived.address) == ("m", 3, "a:8001")


def test_an_error_that_is_about_no_model_says_none() -> None:
    error = SlipwayError("text")

    assert (error.args, error.model_name, error.version, error.address) == (("text",), None, None, None)


def test_who_may_try_again_and_whom_a_gate_refused_are_told_apart() -> None:
    assert kinds(Transient) == {Transient, *TRANSIENT}
    assert kinds(GateRefused) == {GateRefused, *OF_GATES}
    assert not any(
        issubclass(kind, Transient | GateRefused) for kind in (AccessRefused, LoadFailed, VerificationFailed)
    )


MESSAGES = (ROOT / "docs" / "messages.md").read_text()


@pytest.mark.parametrize("kind", in_order(kinds() - {SlipwayError, Transient, GateRefused}))
def test_the_table_of_messages_says_what_to_do_about(kind: type[SlipwayError]) -> None:
    rows = [row for row in MESSAGES.splitlines() if row.startswith(f"| `{kind.__name__}` |")]

    assert rows, f"docs/messages.md: no row begins with {kind.__name__}"
    assert all(len([cell for cell in row.strip("|").split("|") if cell.strip()]) == 4 for row in rows)


def test_the_table_of_messages_names_no_error_that_is_gone() -> None:
    named = {row.split("`")[1] for row in MESSAGES.splitlines() if row.startswith("| `")}

    assert named <= {kind.__name__ for kind in kinds()}
