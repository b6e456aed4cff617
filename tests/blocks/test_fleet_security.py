"""A fleet with keys and certificates: who is refused is told so, and never to start the replica."""

from collections.abc import Iterator
from pathlib import Path

import pytest
from pydantic import SecretStr, ValidationError

from blocks.errors import AccessRefused
from blocks.fleet import TritonFleet
from blocks.transport_security import TransportSecurity
from tests.apparatus.secured_triton import KEY, NAME, Signed, said_by, signed, triton


class Secured:
    """A Triton that asks for a key over TLS, and whoever may speak to it."""

    def __init__(self, address: str, server: Signed, client: Signed) -> None:
        self.address, self.server, self.client = address, server, client

    def fleet(self, key: str | None = KEY, tls: dict[str, object] | None = None) -> TritonFleet:
        """Return a fleet that is trusted, apart from what is given otherwise."""
        ours = {
            "root_certificates": self.server.certificate,
            "client_certificate": self.client.certificate,
            "client_key": SecretStr(self.client.key),
            "server_name": NAME,
        }
        security = TransportSecurity.model_validate(ours | (tls or {}))
        return TritonFleet(replicas=[self.address], tls=security, control_key=key, call_timeout_s=5)


@pytest.fixture(scope="module")
def secured(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Secured]:
    directory: Path = tmp_path_factory.mktemp("secured")
    server, client = signed(NAME), signed("slipway")
    files = {"server-cert": server.certificate, "server-key": server.key, "root-cert": client.certificate}
    options = ["--grpc-use-ssl=true", "--grpc-use-ssl-mutual=true"]
    options += [f"--grpc-restricted-protocol=model-repository:slipway-control={KEY}"]
    for name, content in files.items():
        (directory / name).write_text(content)
        options.append(f"--grpc-{name}={directory / name}")
    with triton(directory, *options) as address:
        yield Secured(address, server, client)


def test_a_replica_is_spoken_to_over_tls_by_who_has_certificate_and_key(secured: Secured) -> None:
    assert said_by(secured.fleet()) is None


@pytest.mark.parametrize("key", [None, "another"])
def test_a_missing_or_wrong_key_is_access_refused_and_no_replica_to_start(secured: Secured, key: str | None) -> None:
    error = said_by(secured.fleet(key))

    assert isinstance(error, AccessRefused), error
    assert "SLIPWAY_TRITON_CONTROL_KEY" in str(error) and "start that replica" not in str(error)


@pytest.mark.parametrize(
    "tls",
    [
        {"root_certificates": signed("somebody").certificate},
        {"server_name": "other.example"},
        {"root_certificates": None},
    ],
    ids=["another authority", "another name", "authorities of the system"],
)
def test_a_certificate_that_is_not_trusted_is_access_refused(secured: Secured, tls: dict[str, object]) -> None:
    error = said_by(secured.fleet(tls=tls))

    assert isinstance(error, AccessRefused), error
    assert "SLIPWAY_TRITON_TLS" in str(error)


def test_a_replica_that_asks_for_our_certificate_does_not_answer_without(secured: Secured) -> None:
    assert said_by(secured.fleet(tls={"client_certificate": None, "client_key": None})) is not None


def test_a_replica_that_speaks_tls_does_not_answer_in_plain_text(secured: Secured) -> None:
    assert said_by(TritonFleet(replicas=[secured.address], control_key=SecretStr(KEY), call_timeout_s=5)) is not None


@pytest.mark.parametrize(
    "tls",
    [
        {"root_certificates": "/no/such/file"},
        {"client_certificate": "-----BEGIN CERTIFICATE-----"},
        {"client_key": "-----BEGIN PRIVATE KEY-----"},
    ],
)
def test_settings_that_cannot_work_are_refused(tls: dict[str, str]) -> None:
    with pytest.raises(ValidationError):
        TransportSecurity.model_validate(tls)
