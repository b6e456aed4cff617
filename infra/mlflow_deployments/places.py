"""Where deployments go to, as NVIDIA's plugin has it in variables: `TRITON_URL`, `TRITON_MODEL_REPO` and `AWS_*`."""

import re
from pathlib import Path
from typing import NamedTuple
from urllib.parse import urlsplit

from blocks.errors import InvalidInput

DEFAULT_URL = "localhost:8000"
HOUSE_PREFIX = "repository"
RECORDS_FOLDER = ".slipway"
_DNS = "dns:///"
_PORTS = {"http": 80, "https": 443}
_SERVER = re.compile(r"(?P<scheme>https?://)?(?P<host>[0-9A-Za-z.-]+):(?P<port>[0-9]+)/(?P<path>.+)")


class Replicas(NamedTuple):
    """The addresses of the replicas, and what is spoken there."""

    addresses: tuple[str, ...]
    protocol: str  # http or grpc
    encrypted: bool


class Bucket(NamedTuple):
    """A bucket, the prefix that Triton reads, and the endpoint where it is not Amazon's."""

    name: str
    prefix: str
    endpoint_url: str | None

    @property
    def records_prefix(self) -> str:
        """What the keys begin with that are no model's: not below what Triton reads, where there is room beside it.

        Below `repository/` and beside it is how slipway lays a bucket out itself.
        """
        if not self.prefix:
            return f"{RECORDS_FOLDER}/"
        folder, _, name = self.prefix.rpartition("/")
        if name == HOUSE_PREFIX:
            return f"{folder}/" if folder else ""
        return f"{self.prefix}.slipway/"


def parse_urls(text: str) -> Replicas:
    """Return the replicas that a `TRITON_URL` names: one or, with commas between, several, all by one protocol.

    Without a scheme, and with http:// or https://, an address is one of an HTTP port; grpc://, grpcs:// and dns:///
    are those of gRPC ports. Raises `InvalidInput` where it is none of these.
    """
    parts = [part.strip() for part in text.split(",") if part.strip()]
    found = [_parse_url(part) for part in parts]
    kinds = {(replicas.protocol, replicas.encrypted) for replicas in found}
    if len(kinds) != 1:
        raise InvalidInput(
            f"TRITON_URL {text!r}: expected addresses of one protocol, say localhost:8000, or "
            "grpc://one:8001,grpc://two:8001, or dns:///triton:8001"
        )
    protocol, encrypted = kinds.pop()
    return Replicas(tuple(address for replicas in found for address in replicas.addresses), protocol, encrypted)


def parse_repository(text: str) -> Bucket | Path:
    """Return what a `TRITON_MODEL_REPO` names: a bucket by `s3://…`, or a directory.

    Taken are `s3://bucket/prefix`, `s3://host:port/bucket/prefix` and `s3://http(s)://host:port/bucket/prefix`; slashes
    too many are left out. Raises `InvalidInput` where no bucket is named.
    """
    if not text.startswith("s3://"):
        if not text.strip():
            raise InvalidInput("TRITON_MODEL_REPO: is not set, expected a directory or s3://bucket/prefix; set it")
        return Path(text.removeprefix("file://")).absolute()
    rest = text.removeprefix("s3://").lstrip("/")
    scheme = next((scheme for scheme in ("http://", "https://") if rest.startswith(scheme)), "")
    rest = re.sub("/+", "/", rest.removeprefix(scheme)).strip("/")
    served = _SERVER.fullmatch(f"{scheme}{rest}")
    endpoint_url, path = None, rest
    if served:
        endpoint_url = f"{served['scheme'] or 'http://'}{served['host']}:{served['port']}"
        path = served["path"]
    name, _, prefix = path.partition("/")
    if not name or ":" in name or (scheme and not served):
        raise InvalidInput(
            f"TRITON_MODEL_REPO {text!r}: names no bucket, expected s3://bucket/prefix or "
            "s3://http://host:port/bucket/prefix; correct it"
        )
    return Bucket(name, prefix, endpoint_url)


def _parse_url(text: str) -> Replicas:
    if text.startswith(_DNS):
        return Replicas((_require_port(text.removeprefix(_DNS), text, prefix=_DNS),), "grpc", False)
    scheme, separator, rest = text.partition("://")
    if not separator:
        scheme, rest = "http", text
    if scheme not in {"http", "https", "grpc", "grpcs"}:
        raise InvalidInput(
            f"TRITON_URL {text!r}: begins with {scheme}://, expected http, https, grpc, grpcs or dns:///; correct it"
        )
    parts = urlsplit(f"//{rest}")
    if parts.path not in {"", "/"} or "@" in parts.netloc:
        raise InvalidInput(f"TRITON_URL {text!r}: expected a host and a port and no more; correct it")
    protocol = "grpc" if scheme.startswith("grpc") else "http"
    address = _require_port(parts.netloc, text, _PORTS.get(scheme))
    return Replicas((address,), protocol, scheme.endswith("s"))


def _require_port(address: str, text: str, default: int | None = None, prefix: str = "") -> str:
    host, _, port = address.rpartition(":")
    if host and port.isdecimal():
        return f"{prefix}{address}"
    if default is None or not address or address.endswith(":"):
        raise InvalidInput(f"TRITON_URL {text!r}: has no port, expected host:port, say {prefix}triton:8001; add it")
    return f"{address}:{default}"
