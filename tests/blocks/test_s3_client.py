"""What boto3's client of a bucket does in our way."""

from typing import Any

import pytest
from botocore.utils import parse_timestamp

from blocks.s3_client import parse_moment


@pytest.mark.parametrize(
    "written",
    [
        "2026-11-28T22:55:04.000Z",
        "2026-11-28T22:55:04+01:00",
        "Sat, 28 Nov 2026 22:55:04 GMT",
        1790000000,
        "1790000000.5",
    ],
)
def test_a_moment_is_what_botocore_makes_of_it_however_it_is_written(written: Any) -> None:
    assert parse_moment(written) == parse_timestamp(written)
