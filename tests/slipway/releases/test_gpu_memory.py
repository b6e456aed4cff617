"""What a version took on a GPU, and a next one that does not fit there."""

import pytest

from blocks.errors import GateRefused, NoRoom
from blocks.replica_metrics import Gpu
from slipway.releases.gpu_memory import look_at_gpus, measure_growth, read_last_need, require_room
from slipway.releases.proven_candidate import ProvenCandidate
from slipway.releases.receipt import record_receipt
from slipway.releases.service_level import Latency
from tests.apparatus.paper import ADDRESSES, THEN, Shelf, make_plan, make_receipt

EMPTY, FULL = Gpu("a", 100.0, 1000.0), Gpu("b", 950.0, 1000.0)


@pytest.mark.parametrize(
    ("needed_mib", "gpus"),
    [(None, [FULL]), (0.0, [FULL]), (900.0, []), (50.0, [FULL]), (900.0, [FULL, EMPTY]), (899.9, [EMPTY])],
)
def test_what_fits_in_one_gpu_or_is_not_known_is_loaded(needed_mib: float | None, gpus: list[Gpu]) -> None:
    require_room(needed_mib, gpus, "m")


@pytest.mark.parametrize(
    ("needed_mib", "gpus", "said"),
    [
        (51.0, [FULL], "took 51 MiB on its GPU and the roomiest of 1 has 50 MiB free of 1000"),
        (901.0, [FULL, EMPTY], "took 901 MiB on its GPU and the roomiest of 2 has 900 MiB free of 1000"),
    ],
)
def test_what_fits_in_no_gpu_is_refused_with_numbers(needed_mib: float, gpus: list[Gpu], said: str) -> None:
    with pytest.raises(NoRoom, match=rf"^model 'm': not loaded, the last version {said}; make room .*keep_served 1"):
        require_room(needed_mib, gpus, "model 'm'")
    assert issubclass(NoRoom, GateRefused)


@pytest.mark.parametrize(
    ("before", "after", "grown"),
    [
        ([], [EMPTY], None),
        ([EMPTY], [], None),
        ([EMPTY], [EMPTY._replace(used_mib=420.0)], 320.0),
        ([EMPTY, FULL], [EMPTY._replace(used_mib=110.0), FULL._replace(used_mib=955.0)], 15.0),
        ([EMPTY], [EMPTY._replace(used_mib=90.0)], 0.0),
    ],
)
def test_what_a_version_took_is_what_its_gpus_are_fuller_by(
    before: list[Gpu], after: list[Gpu], grown: float | None
) -> None:
    assert measure_growth(before, after) == grown


def test_the_need_of_the_live_version_is_read_from_its_receipt(shelf: Shelf) -> None:
    name, environment = shelf.released(2).model_name, shelf.environment
    plan = make_plan(name, 3, served_before=(1, 2))
    assert read_last_need(plan, environment) is None

    latency = Latency(requests=1, p50_ms=1.0, p99_ms=1.0)
    candidate = ProvenCandidate(
        address=ADDRESSES[0],
        load_s=1.0,
        comparison=None,
        latency=latency,
        live_before_load=None,
        live_during_load=None,
        gpu_memory_mib=321.0,
        service_level=None,
    )
    receipt = make_receipt(name, 2, {}, {}).model_copy(update={"candidate": candidate, "live_since": THEN})
    record_receipt(receipt, environment.repository)

    assert read_last_need(plan, environment) == 321.0
    assert read_last_need(make_plan(name, 1), environment) is None


def test_a_fleet_without_metrics_has_no_gpus(shelf: Shelf) -> None:
    assert look_at_gpus(shelf.environment.fleet, ADDRESSES[0]) == ()


def test_metrics_that_cannot_be_read_keep_no_release_from_going_on(shelf: Shelf) -> None:
    fleet = shelf.environment.fleet.model_copy(update={"metrics": ["127.0.0.1:1", "127.0.0.1:1"]})

    assert look_at_gpus(fleet, ADDRESSES[0]) == ()
