"""What replicas were seen to do, and what that says of a version that was committed to Git."""

from typing import Any, cast

import pytest

from blocks.errors import ServiceUnavailable, SlipwayError, VerificationFailed
from slipway.releases.git_release import Seen, Served, State, is_proven, judge, read_said_version

SERVED = Served(cast(Any, None), "m", 2, cast(Any, None))
PROVEN, OTHER, SILENT = (Seen(f"{state.name}:8001", state, state.value) for state in State)


def test_a_version_is_proven_by_every_replica_and_by_no_empty_fleet() -> None:
    assert is_proven([PROVEN, PROVEN])
    assert not any(is_proven(seen) for seen in ([], [PROVEN, OTHER], [PROVEN, SILENT]))


@pytest.mark.parametrize(
    ("seen", "kind"),
    [
        ([PROVEN, SILENT], ServiceUnavailable),
        ([], ServiceUnavailable),
        ([SILENT, OTHER], VerificationFailed),
        ([PROVEN, OTHER], VerificationFailed),
    ],
)
def test_evidence_speaks_against_a_version_and_silence_does_not(seen: list[Seen], kind: type[SlipwayError]) -> None:
    assert type(judge(seen, SERVED, 5)) is kind


def test_a_served_configuration_may_name_its_version() -> None:
    config = 'parameters { key: "mlflow_model_version" value { string_value: "3" } }'

    assert (read_said_version(config), read_said_version("")) == ("3", None)
