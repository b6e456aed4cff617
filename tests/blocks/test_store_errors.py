"""What S3 stores really say, and what it is taken for: an answer, a refusal, or a fault."""

import pytest
from boto3.exceptions import S3UploadFailedError
from botocore.exceptions import ClientError, EndpointConnectionError

from blocks.errors import AccessRefused, ServiceUnavailable, SlipwayError
from blocks.meanings import Answer
from blocks.store_errors import choose_error, explain_silence, read_answer

ADDRESS = "S3 bucket 'models' at http://s3:9000"


def error_of(code: str) -> ClientError:
    return ClientError({"Error": {"Code": code, "Message": "said by the store"}}, "PutObject")


@pytest.mark.parametrize(
    ("code", "expected"),
    [
        ("NoSuchKey", Answer.ABSENT),
        ("404", Answer.ABSENT),
        ("PreconditionFailed", Answer.CHANGED),
        ("ConditionalRequestConflict", Answer.CHANGED),
        ("409", Answer.CHANGED),
        ("AccessDenied", None),
        ("NoSuchBucket", None),
        ("SlowDown", None),
        ("500", None),
    ],
)
def test_an_answer_is_told_apart_from_a_fault(code: str, expected: Answer | None) -> None:
    assert read_answer(error_of(code)) is expected


@pytest.mark.parametrize(
    ("code", "expected", "advice"),
    [
        ("AccessDenied", AccessRefused, "check the credentials"),
        ("403", AccessRefused, "check the credentials"),
        ("ExpiredToken", AccessRefused, "check the credentials"),
        ("SignatureDoesNotMatch", AccessRefused, "check the credentials"),
        ("NoSuchBucket", ServiceUnavailable, "check the store and the bucket"),
        ("SlowDown", ServiceUnavailable, "try again"),
    ],
)
def test_a_refusal_is_told_apart_from_a_store_that_cannot(code: str, expected: type[SlipwayError], advice: str) -> None:
    raised = explain_silence(
        error_of(code),
        ADDRESS,
        "key k",
    )

    assert type(raised) is expected and choose_error(code) is expected
    assert raised.address == ADDRESS
    assert str(raised).startswith(f"{ADDRESS}: ") and "key k" in str(raised) and advice in str(raised)


def test_a_refusal_that_boto3_hides_in_a_failed_transfer_is_found() -> None:
    hidden = S3UploadFailedError("Failed to upload")
    hidden.__cause__ = error_of("AccessDenied")

    assert type(explain_silence(hidden, ADDRESS, "key k")) is AccessRefused


def test_a_store_that_cannot_be_reached_is_unavailable() -> None:
    unreached = EndpointConnectionError(endpoint_url="http://s3:9000")

    assert type(explain_silence(unreached, ADDRESS, "key k")) is ServiceUnavailable
