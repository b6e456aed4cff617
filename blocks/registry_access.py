"""Who asks which MLflow server, and what a refusal of it means.

MLflow knows one user a process, from the environment. Here each request is made for whoever was named for the server
it goes to, looked up by its address when it is sent, so that threads may speak to several servers in turn.
"""

import os
import re
from typing import NamedTuple
from urllib.parse import urlsplit

from mlflow.exceptions import MlflowException
from mlflow.tracking.request_auth.abstract_request_auth_provider import RequestAuthProvider
from mlflow.tracking.request_auth.registry import _request_auth_provider_registry
from requests import HTTPError, PreparedRequest
from requests.auth import AuthBase

from blocks.errors import AccessRefused, NotRegistered, ServiceUnavailable, SlipwayError

_PROVIDER = "slipway"
_AUTH_VARIABLE = "MLFLOW_TRACKING_AUTH"
_authorizations: dict[str, str] = {}


def identify_at(tracking_uri: str, authorization: str | None) -> None:
    """Have requests to one server carry an Authorization header; None: what MLflow's own variables say."""
    if authorization is None:
        _authorizations.pop(_base(tracking_uri), None)
    else:
        _authorizations[_base(tracking_uri)] = authorization
        os.environ[_AUTH_VARIABLE] = _PROVIDER


class _ByAddress(AuthBase):
    """Adds the header of the server a request goes to; other servers never see it."""

    def __call__(self, request: PreparedRequest) -> PreparedRequest:
        address = _base(request.url or "")
        known = [base for base in _authorizations if f"{address}/".startswith(f"{base}/")]
        if known:
            request.headers["Authorization"] = _authorizations[max(known, key=len)]
        return request


class _Provider(RequestAuthProvider):
    def get_name(self) -> str:
        return _PROVIDER

    def get_auth(self) -> AuthBase:
        return _ByAddress()


_request_auth_provider_registry.register(_Provider)  # type: ignore[no-untyped-call]


def _base(url: str) -> str:
    parts = urlsplit(url)
    return f"{parts.scheme}://{parts.netloc.lower()}{parts.path.rstrip('/')}"


class Meaning(NamedTuple):
    """What an error code of MLflow, or an HTTP status, means where its text has a phrase, a regular expression."""

    code: str
    phrase: str
    error: type[SlipwayError]


MEANINGS = (
    Meaning("UNAUTHENTICATED", "", AccessRefused),
    Meaning("CUSTOMER_UNAUTHORIZED", "", AccessRefused),
    Meaning("PERMISSION_DENIED", "", AccessRefused),
    Meaning("401", "", AccessRefused),
    Meaning("403", "", AccessRefused),
    Meaning("RESOURCE_DOES_NOT_EXIST", "", NotRegistered),
    # A missing alias is answered with 400, not with 404.
    Meaning(
        "INVALID_PARAMETER_VALUE", r"(INVALID_PARAMETER_VALUE: )?Registered model alias \S+ not found", NotRegistered
    ),
)


def meaning(error: MlflowException | OSError) -> type[SlipwayError]:
    """Return which error tells what happened; `ServiceUnavailable` for all that is neither refused nor absent."""
    code, text = _code(error), str(error)
    return next(
        (known.error for known in MEANINGS if known.code == code and re.match(known.phrase, text)), ServiceUnavailable
    )


def _code(error: MlflowException | OSError) -> str:
    if isinstance(error, HTTPError) and error.response is not None:
        return str(error.response.status_code)
    return str(getattr(error, "error_code", ""))
