"""Which trial comes next, and with how many clients; and what to make of the comparison at the end.

All of it is decided by what was measured until then, so that nothing has to be remembered beside that.
"""

import statistics
from collections.abc import Sequence
from typing import NamedTuple

from slipway.tuning.knobs import Knobs, Ranges
from slipway.tuning.trial import NOISE, Point, Trial, choose, list_within

WORTH_IT = 1.05  # less is not worth another configuration
NEAR = 0.75  # of what is served: whoever reached as much, by one measurement, may be the better one


def propose_knobs(trials: Sequence[Trial], ranges: Ranges, latency_ms: float) -> Knobs | None:
    """Return the next way to serve: a neighbour of the best so far, None where each of them was tried."""
    tried = {trial.knobs for trial in trials}
    neighbours = ranges.list_neighbours(choose(trials, latency_ms).knobs)
    return next((knobs for knobs in neighbours if knobs not in tried), None)


def propose_clients(points: Sequence[Point], latency_ms: float, begin: int, most: int) -> int | None:
    """Return how many clients ask next, None where enough is known.

    They are doubled as long as the limit is kept and throughput grows, halved until it is kept, and at last one step is
    made between the most that keep it and the fewest that do not.
    """
    if not points:
        return min(begin, most)
    within = sorted(list_within(points, latency_ms), key=lambda point: point.clients)
    if not within:
        return min(point.clients for point in points) // 2 or None
    last = within[-1]
    over = min((point.clients for point in points if point.clients > last.clients), default=None)
    if over is None:
        earlier = max((point.per_second for point in within[:-1]), default=0.0)
        grows = last.per_second > earlier * (1 + NOISE)
        return min(2 * last.clients, most) if grows and last.clients < most else None
    return (last.clients + over) // 2 if over - last.clients > max(1, last.clients / 2) else None


def find_challenger(trials: Sequence[Trial], latency_ms: float) -> Trial | None:
    """Return the best trial beside that of what is served, the first; None where none came near it.

    Each was measured at another time: what they reached decides who is compared in turns, not who is better.
    """
    served, *others = trials
    kept = [trial for trial in others if trial.find_best(latency_ms)]
    best = choose(kept, latency_ms) if kept else None
    enough = NEAR * served.get_throughput(latency_ms)
    return best if best is not None and best.get_throughput(latency_ms) >= enough else None


class Verdict(NamedTuple):
    """What the comparison of the challenger with what is served came to."""

    ratio: float | None
    """The median over the rounds; None where what is served never keeps the limit, so that there is none."""
    keeps_limit: bool
    is_better: bool
    reason: str


def judge(rounds: Sequence[tuple[Trial, Trial]], latency_ms: float) -> Verdict:
    """Return what rounds of measuring what is served and the challenger say, the former first in each."""
    before = [served.get_throughput(latency_ms) for served, _ in rounds]
    after = [challenger.get_throughput(latency_ms) for _, challenger in rounds]
    kept = statistics.median(after) > 0
    if not kept:
        nearest = min(trial.fastest_p99_ms for pair in rounds for trial in pair)
        reason = f"nothing kept {latency_ms:g} ms, the shortest p99 was {nearest:.1f} ms: allow a longer latency_ms"
        return Verdict(None, False, False, reason)
    if statistics.median(before) == 0:
        reason = f"{statistics.median(after):.1f}/s within {latency_ms:g} ms, which it does not keep as it is served"
        return Verdict(None, True, True, reason)
    ratios = [new / old if old else float("inf") for old, new in zip(before, after, strict=True)]
    ratio = statistics.median(ratios)
    figures = f"{statistics.median(after):.1f}/s after {statistics.median(before):.1f}/s within {latency_ms:g} ms"
    told = f"{figures}, {ratio:.2f} times in the median of {len(ratios)} rounds"
    if ratio < WORTH_IT:
        return Verdict(ratio, True, False, f"{told}: less than {WORTH_IT} is not worth a change")
    return Verdict(ratio, True, True, told)
