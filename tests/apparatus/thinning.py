"""Cases of which CI runs a part: `make test-rest` runs the others."""

from collections.abc import Collection, Iterable, Mapping

import pytest
from _pytest.mark.structures import ParameterSet


def keep_one_in(count: int, cases: Iterable[object], first: int = 0) -> list[ParameterSet]:
    """Return the cases of a parameter, but one in so many for the long runs alone: its neighbours show what they show.

    Tests that pass the same points, each in a way of its own, begin at different ones: together they meet more.
    """
    return [_case(case, kept=number % count == first) for number, case in enumerate(cases)]


def keep(cases: Mapping[str, object], kept: Collection[str]) -> list[ParameterSet]:
    """Return the cases of a parameter, named by their keys, those that are not kept for the long runs alone."""
    if unknown := set(kept) - set(cases):
        raise ValueError(f"no cases, so they cannot be kept: {sorted(unknown)}; expected some of {sorted(cases)}")
    return [_case(case, name in kept, name) for name, case in cases.items()]


def _case(case: object, kept: bool, name: str | None = None) -> ParameterSet:
    values = case if type(case) is tuple else (case,)  # a NamedTuple is one value
    return pytest.param(*values, marks=() if kept else pytest.mark.exhaustive, id=name)
