"""A Triton on a directory, apart from the stack, as a person would start one: explicit mode, `--load-model=*`."""

import os
import subprocess
import time
import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import NamedTuple

import httpx

from infra.local import preflight
from infra.local.settings import ROOT
from tests.apparatus.ports import free_port

KEY = "a-key"
_START_S = 120.0


class PlainTriton(NamedTuple):
    """Where it listens, and the key of its model control."""

    http: str
    grpc: str
    repository: Path
    key: str = KEY
    metrics: str = ""

    def list_models(self) -> dict[str, str]:
        """Return every folder of the repository that Triton takes for a model, with its state."""
        url = f"http://{self.http}/v2/repository/index"
        found = httpx.post(url, json={}, headers={"slipway-control": self.key}, timeout=30).raise_for_status().json()
        return {entry["name"]: entry.get("state", "") for entry in found}


@contextmanager
def plain_triton(
    directory: Path, repository: Path | str, mode: str = "explicit", key: str = KEY, **variables: str
) -> Iterator[PlainTriton]:
    """Yield a Triton that serves a repository, once it is ready; in mode `poll` it looks there again and again.

    Args:
        directory: its own, for what it downloads.
        repository: a directory, or a bucket's URI, which needs the `variables` of its credentials.
        mode: who decides what is served.
        key: what its model control asks for.
        variables: further environment variables of its process.
    """
    ports = {kind: free_port() for kind in ("http", "grpc", "metrics")}
    command = [preflight.prepare_triton_python(), "infra/local/triton/serve.py", "--directory", str(directory)]
    command += ["--memory-prefix", f"slipway-plain-{uuid.uuid4().hex[:8]}-", "--repository", str(repository)]
    command += ["--mode", mode]
    command += [part for kind, port in ports.items() for part in (f"--{kind}-port", str(port))]
    log = directory.with_suffix(".log")
    with log.open("wb") as output:
        process = subprocess.Popen(
            command,
            cwd=ROOT,
            stdout=output,
            stderr=output,
            env=os.environ | variables | {"SLIPWAY_TRITON_CONTROL_KEY": key},
        )
    try:
        _await(f"http://127.0.0.1:{ports['http']}/v2/health/live", process, log)
        http, grpc, metrics = (f"127.0.0.1:{ports[kind]}" for kind in ("http", "grpc", "metrics"))
        yield PlainTriton(http, grpc, Path(repository), key, metrics)
    finally:
        process.terminate()
        process.wait(60)


def _await(url: str, process: "subprocess.Popen[bytes]", log: Path) -> None:
    end = time.monotonic() + _START_S
    while True:
        assert process.poll() is None and time.monotonic() < end, log.read_text()[-2000:]
        try:
            if httpx.get(url, timeout=5).is_success:
                return
        except httpx.HTTPError:
            time.sleep(0.1)
