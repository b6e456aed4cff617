"""The cores that a process may use."""

import pytest

from blocks.cores import count_cores, limit_cores


@pytest.mark.parametrize(
    ("quota", "cores"),
    [
        ("max 100000", 16),
        ("max", 16),
        ("", 16),
        ("-1 100000", 16),
        ("-1\n 100000\n", 16),
        ("400000 100000", 4),
        ("250000 100000", 3),
        ("10000 100000", 1),
        ("9900000 100000", 16),
    ],
)
def test_a_container_uses_its_share_of_the_cores(quota: str, cores: int) -> None:
    assert limit_cores(16, quota) == cores


def test_this_machine_has_a_core() -> None:
    assert count_cores() >= 1
