"""The size of a model is a matter of disk and time, never of memory."""

import pytest

from blocks.environment import Environment
from tests.apparatus.given import new_name
from tests.apparatus.large_models import LARGE_BYTES, MEMORY_LIMIT_BYTES, SMALL_BYTES, release_apart, table_model


@pytest.mark.faults
@pytest.mark.timeout(1800)
def test_a_2_gb_model_is_released_in_hardly_more_memory_than_a_45_mb_one(environment: Environment) -> None:
    peaks = {}
    for size_bytes in (SMALL_BYTES, LARGE_BYTES):
        with table_model(environment, new_name(), size_bytes) as registered:
            peaks[size_bytes] = release_apart(registered.model_name).peak_bytes

    assert peaks[LARGE_BYTES] - peaks[SMALL_BYTES] <= MEMORY_LIMIT_BYTES
