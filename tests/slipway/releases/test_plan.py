"""What a release will serve, and the number it gets."""

import pytest

from slipway.releases.plan import ReleasePlan


def plan(version: int, served_before: tuple[int, ...]) -> ReleasePlan:
    return ReleasePlan(
        model_name="m",
        registry_version=1,
        version=version,
        creates_version=True,
        already_live=False,
        flow_run_id="run",
        served_before=served_before,
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
