"""What MLflow really says, and what it is taken for: an alias that is missing, a user it does not know, or a fault."""

import pytest
from mlflow.exceptions import MlflowException, RestException
from requests import HTTPError, Response

from blocks.errors import AccessRefused, NotRegistered, ServiceUnavailable, SlipwayError
from blocks.registry_errors import explain_silence

ADDRESS = "http://mlflow:5000"


def raised_for(error: MlflowException | OSError) -> type[SlipwayError]:
    raised = explain_silence(error, ADDRESS, "model 'm'", "3 retries of 10 s")
    assert raised.address == ADDRESS and ADDRESS in str(raised)
    return type(raised)


@pytest.mark.parametrize(
    ("code", "text", "expected"),
    [
        ("RESOURCE_DOES_NOT_EXIST", "Registered Model with name=m not found", NotRegistered),
        ("INVALID_PARAMETER_VALUE", "Registered model alias live not found.", NotRegistered),
        ("INVALID_PARAMETER_VALUE", "Invalid alias name: 'a b', it was not found to be valid", ServiceUnavailable),
        ("ENDPOINT_NOT_FOUND", "no such endpoint", ServiceUnavailable),
        ("INTERNAL_ERROR", "Registered model alias live not found.", ServiceUnavailable),
        ("PERMISSION_DENIED", "Permission denied", AccessRefused),
        ("UNAUTHENTICATED", "You are not authenticated", AccessRefused),
    ],
)
def test_a_code_and_how_its_text_begins_say_what_happened(code: str, text: str, expected: type[SlipwayError]) -> None:
    error = RestException({"error_code": code, "message": text})  # type: ignore[no-untyped-call]

    assert raised_for(error) is expected
    assert raised_for(MlflowException(text)) is ServiceUnavailable


@pytest.mark.parametrize(
    ("status", "expected"), [(401, AccessRefused), (403, AccessRefused), (500, ServiceUnavailable)]
)
def test_a_transfer_that_breaks_off_is_told_by_its_status(status: int, expected: type[SlipwayError]) -> None:
    response = Response()
    response.status_code = status

    assert raised_for(HTTPError(response=response)) is expected
