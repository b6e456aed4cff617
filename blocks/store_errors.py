"""What an error of the S3 store's means: one table by S3's error code, or by the HTTP status where it has none."""

from botocore.exceptions import ClientError

from blocks.errors import AccessRefused, ServiceUnavailable, SlipwayError, bounded
from blocks.meanings import Answer, Meaning, find_meaning

_CREDENTIALS = "check the credentials in the block and what the bucket's policy allows them"

MEANINGS = (
    Meaning("NoSuchKey", "", Answer.ABSENT),
    Meaning("404", "", Answer.ABSENT),
    Meaning("PreconditionFailed", "", Answer.CHANGED),
    Meaning("ConditionalRequestConflict", "", Answer.CHANGED),
    Meaning("412", "", Answer.CHANGED),
    Meaning("409", "", Answer.CHANGED),
    Meaning("401", "", AccessRefused, _CREDENTIALS),
    Meaning("403", "", AccessRefused, _CREDENTIALS),
    Meaning("AccessDenied", "", AccessRefused, _CREDENTIALS),
    Meaning("ExpiredToken", "", AccessRefused, _CREDENTIALS),
    Meaning("InvalidAccessKeyId", "", AccessRefused, _CREDENTIALS),
    Meaning("InvalidToken", "", AccessRefused, _CREDENTIALS),
    Meaning("SignatureDoesNotMatch", "", AccessRefused, _CREDENTIALS),
)


def classify_error(error: Exception) -> Meaning | None:
    """Return what an error means, None for all that is neither an answer nor refused."""
    return find_meaning(MEANINGS, _code(error), str(error))


def read_answer(error: Exception) -> Answer | None:
    """Return what the store answered with an error, None where that is a fault."""
    known = classify_error(error)
    return known.means if known and isinstance(known.means, Answer) else None


def explain_silence(error: Exception, address: str, subject: str) -> SlipwayError:
    """Return the error to raise where the store gave no answer that can be used."""
    known, said = classify_error(error), bounded(error)
    if known and known.means is AccessRefused:
        return AccessRefused(f"{address}: refused access to {subject} ({said}); {known.advice}", address=address)
    return ServiceUnavailable(
        f"{address}: no usable answer for {subject} ({said}); check the store and the bucket, and try again",
        address=address,
    )


def choose_error(code: str) -> type[SlipwayError]:
    """Return the error to raise where one key of many was not deleted, for a reason S3 gives by its code."""
    known = find_meaning(MEANINGS, code, "")
    return AccessRefused if known and known.means is AccessRefused else ServiceUnavailable


def _code(error: Exception) -> str:
    """Return S3's code of an error; boto3 hides it where a transfer failed."""
    cause = error if isinstance(error, ClientError) else error.__cause__ or error.__context__
    return str(cause.response["Error"]["Code"]) if isinstance(cause, ClientError) else ""
