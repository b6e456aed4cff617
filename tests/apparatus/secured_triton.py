"""A Triton whose model control asks for a key and whose gRPC speaks TLS with those it knows, apart from the stack."""

import datetime
import ipaddress
import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import NamedTuple

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID

from blocks.errors import SlipwayError
from blocks.fleet import TritonFleet
from infra.local import preflight
from infra.local.settings import ROOT
from tests.apparatus.ports import free_port

NAME = "triton.example"
KEY = "a-key"
_START_S = 60.0
_SERVE = """
import sys
sys.path.insert(0, "infra/local/triton")
from pathlib import Path
import serve
serve.become(sys.argv[2:], backends=Path(sys.argv[1], "backends"), downloads=Path(sys.argv[1], "downloads"),
             memory_prefix="slipway-secured-")
"""


class Signed(NamedTuple):
    """A certificate and its key, as PEM texts."""

    certificate: str
    key: str


def signed(name: str, addresses: tuple[str, ...] = ()) -> Signed:
    """Return a certificate for a name, signed by itself."""
    key = ec.generate_private_key(ec.SECP256R1())
    subject = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, name)])
    names = [x509.DNSName(name), *(x509.IPAddress(ipaddress.ip_address(address)) for address in addresses)]
    today = datetime.datetime.now(datetime.UTC)
    certificate = (
        x509.CertificateBuilder()
        .subject_name(subject)
        .issuer_name(subject)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(today - datetime.timedelta(days=1))
        .not_valid_after(today + datetime.timedelta(days=1))
        .add_extension(x509.SubjectAlternativeName(names), critical=False)
        .add_extension(x509.BasicConstraints(ca=True, path_length=None), critical=True)
        .sign(key, hashes.SHA256())
    )
    plain = serialization.NoEncryption()
    return Signed(
        certificate.public_bytes(serialization.Encoding.PEM).decode(),
        key.private_bytes(serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, plain).decode(),
    )


@contextmanager
def triton(directory: Path, *options: str) -> Iterator[str]:
    """Yield the gRPC address of a Triton with these options and no model, once it listens."""
    port, http_port = free_port(), free_port()
    for name in ("repository", "backends"):
        (directory / name).mkdir()
    command = [
        preflight.prepare_triton_python(),
        "-c",
        _SERVE,
        str(directory),
        f"--model-repository={directory}/repository",
    ]
    command += ["--model-control-mode=explicit", "--strict-readiness=false", "--allow-metrics=false"]
    command += ["--http-address=127.0.0.1", "--grpc-address=127.0.0.1", f"--http-port={http_port}"]
    with (directory / "log").open("wb") as log:
        process = subprocess.Popen([*command, f"--grpc-port={port}", *options], cwd=ROOT, stdout=log, stderr=log)
    try:
        await_start(process, directory / "log")
        yield f"127.0.0.1:{port}"
    finally:
        process.terminate()
        process.wait(30)


def await_start(process: "subprocess.Popen[bytes]", log: Path) -> None:
    """Return once a Triton listens, by its log."""
    end = time.monotonic() + _START_S
    while b"Started HTTPService" not in log.read_bytes():
        assert process.poll() is None and time.monotonic() < end, log.read_text()[-2000:]
        time.sleep(0.05)


def said_by(fleet: TritonFleet) -> SlipwayError | None:
    """Return what a fleet's first replica is taken to say when it is asked for its models, None for an answer."""
    try:
        fleet.read_index(fleet.list_addresses()[0])
    except SlipwayError as error:
        return error
    return None
