"""A trial ends where the limit is passed, and where a request fails."""

from typing import Any, cast

import pytest

from blocks.errors import LoadFailed
from blocks.load_generator import LoadGenerator
from slipway.releases.serving_settings import ServingSettings
from slipway.tuning.ground import Ground
from slipway.tuning.knobs import Knobs, Ranges
from slipway.tuning.measuring import climb, require_measured
from slipway.tuning.terms import TuningTerms
from slipway.tuning.trial import Trial


class Server:
    """A server whose requests take ten milliseconds a client, and fail from some number of clients on."""

    def __init__(self, fails_from: int) -> None:
        self.fails_from = fails_from

    def ask(self, clients: int, seconds: float) -> dict[str, Any]:
        failures = 3 if clients >= self.fails_from else 0
        waits = {"p50_ms": 8.0 * clients, "p99_ms": 10.0 * clients}
        return {"clients": clients, "requests": 90, "per_second": 90.0 * clients, **waits} | {
            "failures": failures,
            "reason": "RESOURCE_EXHAUSTED: no room",
        }


def test_the_highest_throughput_within_the_limit_is_found() -> None:
    trial = climb(cast(LoadGenerator, Server(fails_from=100)), Knobs(), TuningTerms(latency_ms=60), 1)

    best = trial.find_best(60)
    assert best is not None and (best.clients, best.per_second) == (6, 540)


def test_a_way_whose_requests_fail_is_refused_and_never_best() -> None:
    trial = climb(cast(LoadGenerator, Server(fails_from=2)), Knobs(), TuningTerms(latency_ms=60), 1)

    assert trial.refusal == "with 2 clients 3 requests failed: RESOURCE_EXHAUSTED: no room"
    assert trial.find_best(60) is None


def test_a_replica_that_does_not_serve_what_is_served_is_left() -> None:
    ground = Ground(
        model_name="m",
        version=2,
        address="c:8001",
        committed="",
        author=None,
        served=ServingSettings(),
        kept=ServingSettings(),
        start=Knobs(),
        ranges=Ranges(),
    )

    with pytest.raises(LoadFailed, match=r"on Triton c:8001: cannot be measured as it is served \(no backend\)"):
        require_measured(Trial(knobs=Knobs(), refusal="no backend"), ground)
