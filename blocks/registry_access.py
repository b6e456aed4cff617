"""Who asks which MLflow server.

MLflow knows one user a process, from the environment. Here each request is made for whoever was named for the server
it goes to, looked up by its address when it is sent, so that threads may speak to several servers in turn.
"""

import os
from urllib.parse import urlsplit

from mlflow.tracking.request_auth.abstract_request_auth_provider import RequestAuthProvider
from mlflow.tracking.request_auth.registry import _request_auth_provider_registry
from requests import PreparedRequest
from requests.auth import AuthBase

_PROVIDER = "slipway"
_DOWNLOAD_MEMORY_BYTES = 64 * 1024**2
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


def choose_chunk_bytes() -> int:
    """Return the size of the chunks that MLflow may download at once and still hold no more than 64 MiB.

    It takes two a core, 20 at most, and has each in memory twice; its own choice of 100 MB means up to 4 GB.
    """
    at_once = min(2 * (os.cpu_count() or 1), 20)
    return _DOWNLOAD_MEMORY_BYTES // (2 * at_once)
