"""What a release will serve, and the number it gets."""

import pytest

from slipway.releases.plan import ReleasePlan


def plan(version: int, served_before: tuple[int, ...], also_serves: tuple[int, ...] = ()) -> ReleasePlan:
    return ReleasePlan(
        model_name="m",
        registry_version=1,
        version=version,
        creates_version=True,
        already_live=False,
        flow_run_id="run",
        served_before=served_before,
        also_serves=also_serves,
    )


@pytest.mark.parametrize(
    ("version", "served_before", "serves"),
    [(1, (), (1,)), (2, (1,), (1, 2)), (3, (1, 2), (2, 3)), (2, (2,), (2,))],
)
def test_a_release_serves_the_new_version_and_the_one_before(
    version: int, served_before: tuple[int, ...], serves: tuple[int, ...]
) -> None:
    assert plan(version, served_before).serves == serves


def test_a_forced_lower_version_is_served_alone_since_triton_answers_with_the_highest() -> None:
    assert plan(2, (4, 5)).serves == (2,)


def test_the_version_before_leaves_where_the_plan_says_so() -> None:
    alone = plan(4, (2, 3)).model_copy(update={"live_leaves": True})

    assert alone.serves == (4,)
    assert alone.model_copy(update={"also_serves": (2,)}).serves == (2, 4)


def test_what_else_is_to_be_served_stands_beside_it_unless_it_outranks_it() -> None:
    assert plan(4, (2, 3), also_serves=(1,)).serves == (1, 3, 4)
    assert plan(2, (4, 5), also_serves=(1, 4)).serves == (1, 2)
