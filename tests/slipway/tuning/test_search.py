"""What is tried next, with how many clients, and what is chosen, all decided by what was measured."""

import math
from collections.abc import Callable

import pytest

from slipway.releases.serving_settings import ServingSettings
from slipway.tuning.knobs import Knobs, Ranges, read_knobs
from slipway.tuning.search import find_challenger, judge, propose_clients, propose_knobs
from slipway.tuning.terms import TuningTerms
from slipway.tuning.trial import Point, Trial, choose

LIMIT_MS = 50.0
START = Knobs(instances=1, intra_op_threads=1, queue_delay_us=500, max_batch_size=32)
RANGES = Ranges(instances=(1, 2, 4), intra_op_threads=(1, 2, 4), queue_delay_us=(0, 500, 2000), max_batch_size=(64,))


def point(clients: int, per_second: float, p99_ms: float) -> Point:
    return Point(clients=clients, requests=100, per_second=per_second, p50_ms=p99_ms / 2, p99_ms=p99_ms)


def trial(knobs: Knobs, per_second: float, p99_ms: float = 10.0) -> Trial:
    return Trial(knobs=knobs, points=(point(4, per_second, p99_ms),))


def ask(serve: Callable[[int], tuple[float, float]], begin: int = 1, most: int = 64) -> list[int]:
    """Return the numbers of clients that are asked one after the other of a server that answers so."""
    points: list[Point] = []
    while (clients := propose_clients(points, LIMIT_MS, begin, most)) is not None:
        points.append(point(clients, *serve(clients)))
    return [found.clients for found in points]


def test_clients_are_doubled_until_the_limit_is_passed_and_one_step_is_made_between() -> None:
    assert ask(lambda clients: (100 * clients, 4.0 * clients)) == [1, 2, 4, 8, 16, 12]


def test_clients_are_doubled_no_more_when_throughput_no_longer_grows() -> None:
    assert ask(lambda clients: (min(clients, 4) * 100, 5)) == [1, 2, 4, 8]


def test_clients_are_halved_until_the_limit_is_kept() -> None:
    assert ask(lambda clients: (100, 20.0 * clients), begin=16) == [16, 8, 4, 2, 3]


def test_a_server_that_never_keeps_the_limit_is_asked_by_one_client_at_last() -> None:
    assert ask(lambda clients: (5, 200.0), begin=4) == [4, 2, 1]


def test_no_more_clients_ask_than_are_allowed() -> None:
    assert ask(lambda clients: (100 * clients, 1.0), most=12) == [1, 2, 4, 8, 12]


def test_a_spike_with_few_clients_ends_nothing() -> None:
    points = [point(8, 800, 10), point(4, 400, 90), point(16, 1600, 20)]

    assert propose_clients(points, LIMIT_MS, 1, 64) == 32


def climb(measure: Callable[[Knobs], float], start: Knobs = START, ranges: Ranges = RANGES) -> list[Trial]:
    trials: list[Trial] = []
    knobs: Knobs | None = start
    while knobs is not None:
        trials.append(trial(knobs, measure(knobs)))
        knobs = propose_knobs(trials, ranges, LIMIT_MS)
    return trials


def test_the_search_climbs_to_the_best_and_ends_when_its_neighbours_were_tried() -> None:
    def measure(knobs: Knobs) -> float:
        used = (knobs.instances or 1) * (knobs.intra_op_threads or 1)
        return 100.0 * min(used, 2) - 10.0 * max(0, used - 2) - (knobs.queue_delay_us or 0) / 20

    trials = climb(measure)

    best = choose(trials, LIMIT_MS).knobs
    assert (best.instances, best.intra_op_threads, best.queue_delay_us) in {(2, 1, 0), (1, 2, 0)}
    assert len(trials) == len({found.knobs for found in trials}), "nothing is tried twice"
    assert len(trials) < math.prod((3, 3, 3, 2)) / 2, "and by far not everything"


def test_threads_are_given_for_instances_in_one_step() -> None:
    """Each knob alone makes it worse: four cores taken by four threads of one, or by one thread of four."""
    served = Knobs(instances=1, intra_op_threads=4)

    found = climb(
        lambda knobs: {(1, 4): 100.0, (2, 2): 120.0, (4, 1): 140.0}.get(
            (knobs.instances or 0, knobs.intra_op_threads or 0), 50.0
        ),
        served,
        RANGES,
    )

    assert choose(found, LIMIT_MS).knobs == Knobs(instances=4, intra_op_threads=1)


def test_where_nothing_is_said_of_a_knob_each_of_its_values_is_tried() -> None:
    tried = {found.knobs.intra_op_threads for found in climb(lambda _: 100.0, Knobs(instances=1), RANGES)}

    assert tried == {None, 1, 2, 4}


def test_of_what_is_as_fast_the_cheapest_is_chosen() -> None:
    dear, cheap = trial(START.turn("instances", 4), 102), trial(START, 100)

    assert choose([dear, cheap], LIMIT_MS) == cheap
    assert choose([trial(dear.knobs, 110), cheap], LIMIT_MS).knobs == dear.knobs


def test_what_is_over_the_limit_is_not_chosen_however_fast() -> None:
    assert choose([trial(START, 100), trial(START.turn("instances", 4), 900, p99_ms=51)], LIMIT_MS).knobs == START


def test_where_nothing_keeps_the_limit_the_nearest_is_where_the_search_goes_on() -> None:
    slow, nearer = trial(START, 10, p99_ms=90), trial(START.turn("instances", 2), 8, p99_ms=60)

    assert choose([slow, nearer, Trial(knobs=START.turn("instances", 4), refusal="no room")], LIMIT_MS) == nearer


def test_who_came_near_what_is_served_is_compared_with_it_in_turns() -> None:
    lucky, other = trial(START, 100), trial(START.turn("instances", 2), 80)
    over = trial(START.turn("instances", 4), 900, p99_ms=60)

    assert find_challenger([lucky, over, other], LIMIT_MS) == other
    assert find_challenger([lucky, trial(other.knobs, 70)], LIMIT_MS) is None
    assert find_challenger([trial(START, 100, p99_ms=60), trial(other.knobs, 1)], LIMIT_MS) is not None


def test_the_median_of_the_rounds_decides() -> None:
    faster = START.turn("instances", 2)

    def rounds(*ratios: float) -> list[tuple[Trial, Trial]]:
        return [(trial(START, 100), trial(faster, 100 * ratio)) for ratio in ratios]

    assert judge(rounds(0.9, 1.5, 1.6), LIMIT_MS).is_better
    assert not judge(rounds(1.02, 1.04, 9.0), LIMIT_MS).is_better, "one lucky round is none"
    assert "not worth a change" in judge(rounds(1.02, 1.04, 9.0), LIMIT_MS).reason


def test_what_keeps_a_limit_that_was_not_kept_is_better_and_has_no_ratio() -> None:
    found = judge([(trial(START, 100, p99_ms=80), trial(START, 90, p99_ms=40))], LIMIT_MS)

    assert found.is_better and found.ratio is None


def test_a_limit_that_nothing_keeps_says_how_near_it_came() -> None:
    found = judge([(trial(START, 100, p99_ms=80), trial(START, 90, p99_ms=70))], LIMIT_MS)

    assert not found.keeps_limit and "70.0 ms" in found.reason and "latency_ms" in found.reason


def test_only_what_was_turned_is_said_in_the_settings() -> None:
    settings = ServingSettings(warm_up="zeros", instances=1)

    said = START.turn("instances", 2).turn("queue_delay_us", 0).say(START, settings)

    assert said == ServingSettings(warm_up="zeros", instances=2, queue_delay_us=0)


@pytest.mark.parametrize(
    ("config", "expected"),
    [
        ("max_batch_size: 0", Knobs()),
        ("max_batch_size: 8 dynamic_batching {}", Knobs(max_batch_size=8, queue_delay_us=0)),
        ("max_batch_size: 8", Knobs(max_batch_size=8)),
        ("instance_group { count: 2 } instance_group { count: 3 }", Knobs()),
        (
            'instance_group { count: 2 } parameters { key: "intra_op_thread_count" value { string_value: "3" } }',
            Knobs(instances=2, intra_op_threads=3),
        ),
    ],
)
def test_knobs_are_read_from_a_configuration(config: str, expected: Knobs) -> None:
    assert read_knobs(config) == expected


def test_batches_only_grow_unless_sizes_are_named() -> None:
    assert TuningTerms().make_ranges(START).max_batch_size == (64,)
    assert TuningTerms().make_ranges(START.turn("max_batch_size", 64)).max_batch_size == ()
    named = TuningTerms.model_validate({"max_batch_sizes": "8,16", "instances": ""})
    assert (named.make_ranges(START).max_batch_size, named.instances) == ((8, 16), ())
