"""Errors as MLflow's contract for deployments has them."""

from collections.abc import Iterator
from contextlib import contextmanager

from mlflow.exceptions import MlflowException
from mlflow.protos.databricks_pb2 import (
    INTERNAL_ERROR,
    INVALID_PARAMETER_VALUE,
    PERMISSION_DENIED,
    RESOURCE_ALREADY_EXISTS,
    RESOURCE_DOES_NOT_EXIST,
    TEMPORARILY_UNAVAILABLE,
)

from blocks.errors import AccessRefused, ForeignModel, InvalidInput, NotRegistered, SlipwayError, Transient

_CODES: tuple[tuple[type[SlipwayError], int], ...] = (
    (NotRegistered, RESOURCE_DOES_NOT_EXIST),
    (ForeignModel, RESOURCE_ALREADY_EXISTS),
    (InvalidInput, INVALID_PARAMETER_VALUE),
    (Transient, TEMPORARILY_UNAVAILABLE),
    (AccessRefused, PERMISSION_DENIED),
)


@contextmanager
def answering() -> Iterator[None]:
    """Translate what slipway raises."""
    try:
        yield
    except SlipwayError as error:
        code = next((code for kind, code in _CODES if isinstance(error, kind)), INTERNAL_ERROR)
        raise MlflowException(str(error), error_code=code) from error


def refuse_existing(name: str) -> MlflowException:
    """Return the error of a deployment that is to be created and is there."""
    return MlflowException(
        f"Unable to create deployment for name {name} because it already exists.", error_code=RESOURCE_ALREADY_EXISTS
    )


def refuse_missing(name: str, verb: str) -> MlflowException:
    """Return the error of a deployment that is to be changed and is not there."""
    return MlflowException(
        f"Unable to {verb} deployment for name {name} because it does not exist.", error_code=RESOURCE_DOES_NOT_EXIST
    )
