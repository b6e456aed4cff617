"""Gate 3: each limit is applied by itself, those left out are not, and a miss names every limit missed."""

import pytest
from pydantic import ValidationError

from blocks.errors import ServiceLevelMissed
from slipway.releases.service_level import Latency, MeasuredServiceLevel, ServiceLevel, check


def found(
    p99_ms: float = 10, live_p99_ms: float | None = 8, per_s: float = 100, memory_mib: float | None = 50
) -> MeasuredServiceLevel:
    return MeasuredServiceLevel(
        candidate=Latency(requests=100, p50_ms=5, p99_ms=p99_ms),
        live=None if live_p99_ms is None else Latency(requests=100, p50_ms=5, p99_ms=live_p99_ms),
        candidate_throughput_per_s=per_s,
        live_throughput_per_s=None if live_p99_ms is None else 110,
        memory_mib=memory_mib,
    )


@pytest.mark.parametrize(
    "level",
    [
        ServiceLevel(),
        ServiceLevel(max_p99_ms=10, max_p99_ratio=1.25, min_throughput_per_s=100, max_memory_mib=50),
    ],
)
def test_a_candidate_at_its_limits_passes(level: ServiceLevel) -> None:
    check(level, found(), "model 'm'")


@pytest.mark.parametrize(
    ("level", "message"),
    [
        (ServiceLevel(max_p99_ms=9), r"p99 10.0 ms > 9 ms allowed"),
        (ServiceLevel(max_p99_ratio=1.2), r"p99 10.0 ms is 1.25 times the live version's, 1.2 allowed"),
        (ServiceLevel(min_throughput_per_s=101), r"100 requests/s < 101 requests/s demanded"),
        (ServiceLevel(max_memory_mib=49), r"memory 50 MiB > 49 MiB allowed"),
        (ServiceLevel(max_p99_ms=9, max_memory_mib=49), r"p99 .*; memory .*; the live version stays"),
    ],
)
def test_a_missed_limit_is_named_with_what_was_measured(level: ServiceLevel, message: str) -> None:
    with pytest.raises(ServiceLevelMissed, match=message):
        check(level, found(), "model 'm'")


def test_a_first_release_has_no_live_version_to_be_compared_with() -> None:
    check(ServiceLevel(max_p99_ratio=1), found(live_p99_ms=None), "model 'm'")


@pytest.mark.parametrize("bad", [{"max_p99_ms": 0}, {"requests": 1}, {"max_p99": 3}])
def test_limits_that_make_no_sense_are_refused(bad: dict[str, float]) -> None:
    with pytest.raises(ValidationError):
        ServiceLevel.model_validate(bad)
