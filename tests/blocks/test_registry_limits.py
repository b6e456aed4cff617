"""How long MLflow may take: a file is given more time than a question, whatever other threads ask meanwhile."""

import os

import pytest

from blocks.registry import ModelRegistry
from blocks.registry_limits import limit_requests

NOWHERE = "http://127.0.0.1:9"


def read_limit() -> int:
    return int(os.environ["MLFLOW_HTTP_REQUEST_TIMEOUT"])


def test_a_file_has_its_own_limit_and_what_comes_after_it_the_usual_one() -> None:
    registry = ModelRegistry(tracking_uri=NOWHERE, request_timeout_s=7, transfer_timeout_s=70)

    with registry.transferring("files"):
        during = read_limit()

    assert (during, read_limit()) == (70, 7)


def test_a_question_meanwhile_takes_no_time_from_a_file() -> None:
    with ModelRegistry(tracking_uri=NOWHERE, transfer_timeout_s=70).transferring("files"):
        limit_requests(3)

        assert read_limit() == 70


def test_of_two_files_at_once_each_has_the_time_of_the_more_patient() -> None:
    patient = ModelRegistry(tracking_uri=NOWHERE, request_timeout_s=7, transfer_timeout_s=70)
    hasty = ModelRegistry(tracking_uri=NOWHERE, request_timeout_s=7, transfer_timeout_s=30)

    with patient.transferring("large"):
        with hasty.transferring("small"):
            pass
        after_small = read_limit()

    assert (after_small, read_limit()) == (70, 7)


def test_a_transfer_that_breaks_off_leaves_the_usual_limit() -> None:
    registry = ModelRegistry(tracking_uri=NOWHERE, request_timeout_s=7)

    with pytest.raises(KeyError), registry.transferring("files"):
        raise KeyError

    assert read_limit() == 7
