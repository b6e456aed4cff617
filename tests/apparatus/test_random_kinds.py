"""Random models are what their plans say, before any server is asked."""

from itertools import combinations

from hypothesis import given, settings

from tests.apparatus.joining import joins
from tests.apparatus.kinds.kind import open_session
from tests.apparatus.kinds.random_kinds import FIXED, TWO_NAMES, Plan, make_kind, plans


@settings(max_examples=100, derandomize=True, deadline=None)
@given(plan=plans())
def test_requests_of_a_random_model_may_be_joined_where_its_plan_says_so(plan: Plan) -> None:
    kind = make_kind(plan)
    session = open_session(kind.build(1))
    exchanges = kind.requests(1, 6)

    alone = [joins(session, first, second, kind.tolerance) for first, second in combinations(exchanges, 2)]

    if plan.axis not in (FIXED, TWO_NAMES):  # those are joined by nobody, whatever came of it
        assert all(alone) if kind.is_batched else not all(alone)
