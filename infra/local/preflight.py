"""Looks, before anything starts, for what would keep the local stack from starting."""

import os
import platform
import shutil
import socket
import subprocess
import tomllib
from collections.abc import Iterable
from pathlib import Path

from packaging.tags import sys_tags
from packaging.utils import parse_wheel_filename

from infra.errors import StackError
from infra.local.settings import ROOT, Endpoint, LocalStack

TRITON_SCRIPT = ROOT / "infra" / "local" / "triton" / "serve.py"
TRITON_LOCK = TRITON_SCRIPT.with_name("serve.py.lock")
REPLICA_TIMEOUT_S = 5
TRITON_PACKAGE = "nvidia-pytriton"


def check_ports(endpoints: Iterable[Endpoint], host: str) -> None:
    """Raise a StackError that names the first port already taken and the variable that moves it."""
    for endpoint in endpoints:
        with socket.socket() as probe:
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            try:
                probe.bind((host, endpoint.port))
            except OSError as exc:
                raise StackError(
                    f"port {endpoint.port} on {host}, which {endpoint.server} wants, cannot be had ({exc.strerror}); "
                    f"stop its owner or set {endpoint.variable} to a free port"
                ) from exc


def check_replicas(stack: LocalStack) -> None:
    """Raise a StackError unless something listens at the address of every Triton started otherwise."""
    for address in stack.triton_addresses:
        host, _, port = address.rpartition(":")
        if not (host and port.isdigit()):
            raise StackError(f"SLIPWAY_TRITON_REPLICAS: {address!r} is not host:port")
        try:
            socket.create_connection((host, int(port)), timeout=REPLICA_TIMEOUT_S).close()
        except OSError as exc:
            raise StackError(f"no Triton answers at {address}, from SLIPWAY_TRITON_REPLICAS: {exc}") from exc


def prepare_triton_python() -> str:
    """Return the interpreter of Triton's own locked environment, made ready if it is not yet."""
    check_platform()
    uv = shutil.which("uv") or os.environ.get("UV")
    if uv is None:
        raise StackError("uv was not found on PATH; start with make, which brings its own")
    _run(uv, "sync", "--quiet", "--locked", "--script", str(TRITON_SCRIPT))
    python = _run(uv, "python", "find", "--script", str(TRITON_SCRIPT)).strip()
    _run(python, str(TRITON_SCRIPT), "--check")
    return python


def _run(*command: str) -> str:
    answer = subprocess.run(command, capture_output=True, text=True, check=False, cwd=ROOT)  # noqa: S603
    if answer.returncode != 0:
        reason = (answer.stderr or answer.stdout).strip().splitlines() or ["no output"]
        raise StackError(f"Triton's environment cannot be used: {reason[-1]}")
    return answer.stdout


def check_platform(lock: Path = TRITON_LOCK) -> None:
    """Raise a StackError where no build of the Triton wheel runs on this machine."""
    wheels = _read_locked_wheels(lock)
    if not any(parse_wheel_filename(wheel)[3] & set(sys_tags()) for wheel in wheels):
        machine = f"{platform.system()} {platform.machine()} {' '.join(platform.libc_ver())}".strip()
        raise StackError(
            f"no Triton build for this machine ({machine}; there are {', '.join(wheels)}); "
            "set SLIPWAY_TRITON_REPLICAS=host:port,... to the gRPC addresses of a Triton started otherwise"
        )


def _read_locked_wheels(lock: Path) -> list[str]:
    packages = tomllib.loads(lock.read_text())["package"]
    wheels = next(package["wheels"] for package in packages if package["name"] == TRITON_PACKAGE)
    return [wheel["url"].rsplit("/", 1)[-1] for wheel in wheels]
