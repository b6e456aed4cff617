"""What an error of MLflow's means: one table by its error code, or by the HTTP status where it has none."""

from typing import TYPE_CHECKING

from requests import HTTPError

from blocks.errors import AccessRefused, NotRegistered, ServiceUnavailable, SlipwayError, bounded
from blocks.meanings import Meaning, find_meaning

if TYPE_CHECKING:
    from mlflow.exceptions import MlflowException

_USER = (
    "give the registry a user who may (SLIPWAY_MLFLOW_USERNAME and SLIPWAY_MLFLOW_PASSWORD, or SLIPWAY_MLFLOW_TOKEN)"
)
_NAME = "expected a registered model, alias and version: see its Models page"

MEANINGS = (
    Meaning("UNAUTHENTICATED", "", AccessRefused, _USER),
    Meaning("CUSTOMER_UNAUTHORIZED", "", AccessRefused, _USER),
    Meaning("PERMISSION_DENIED", "", AccessRefused, _USER),
    Meaning("401", "", AccessRefused, _USER),
    Meaning("403", "", AccessRefused, _USER),
    Meaning("RESOURCE_DOES_NOT_EXIST", "", NotRegistered, _NAME),
    # A missing alias is answered with 400, not with 404.
    Meaning(
        "INVALID_PARAMETER_VALUE",
        r"(INVALID_PARAMETER_VALUE: )?Registered model alias \S+ not found",
        NotRegistered,
        _NAME,
    ),
)


def classify_error(error: "MlflowException | OSError") -> Meaning | None:
    """Return what an error means, None for all that is neither refused nor absent."""
    return find_meaning(MEANINGS, _code(error), str(error))


def is_absent(error: "MlflowException") -> bool:
    """Tell whether MLflow has no such model, alias or version."""
    known = classify_error(error)
    return known is not None and known.means is NotRegistered


def explain_silence(error: "MlflowException | OSError", address: str, subject: str, patience: str) -> SlipwayError:
    """Return the error to raise where MLflow gave no answer that `subject` could be read from."""
    known = classify_error(error)
    if known and known.means is NotRegistered:
        return NotRegistered(
            f"{subject}: not in the MLflow registry at {address} ({bounded(error)}); {known.advice}", address=address
        )
    if known and known.means is AccessRefused:
        return AccessRefused(
            f"MLflow at {address}: access refused to {subject} ({bounded(error)}); {known.advice}", address=address
        )
    if isinstance(error, OSError):
        return ServiceUnavailable(
            f"MLflow at {address}: transfer of {subject} broke off ({bounded(error) or type(error).__name__}); "
            "check the server and its artifact store and try again",
            address=address,
        )
    return ServiceUnavailable(
        f"MLflow at {address}: no usable answer for {subject} after {patience} ({bounded(error)}); check the server "
        "and try again",
        address=address,
    )


def _code(error: "MlflowException | OSError") -> str:
    if isinstance(error, HTTPError) and error.response is not None:
        return str(error.response.status_code)
    return str(getattr(error, "error_code", ""))
