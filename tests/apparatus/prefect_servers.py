"""Prefect servers beside the stack's, empty, on SQLite or on a Postgres of their own: they are what is timed."""

import os
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import httpx

START_S = 120.0
PROGRAMS = ("initdb", "postgres", "pg_isready")
_AS_POSTGRES: dict[str, Any] = {"user": "postgres", "group": "postgres", "extra_groups": []}


def has_postgres() -> bool:
    """Tell whether Postgres is installed where programs are looked for."""
    return all(shutil.which(program) for program in PROGRAMS)


@contextmanager
def prefect_server(directory: Path, port: int, database_url: str | None = None) -> Iterator[str]:
    """Start a Prefect server with a home of its own, on SQLite where no database is named; yield its API's address."""
    kept = {name: value for name, value in os.environ.items() if not name.startswith(("PREFECT_", "SLIPWAY_"))}
    settings = {
        "PREFECT_HOME": str(directory),
        "PREFECT_UI_STATIC_DIRECTORY": str(directory / "ui"),
        "PREFECT_SERVER_ANALYTICS_ENABLED": "false",
        "DO_NOT_TRACK": "1",
    }
    settings |= {"PREFECT_SERVER_DATABASE_CONNECTION_URL": database_url} if database_url else {}
    command = [sys.executable, "-m", "prefect", "server", "start", "--host", "127.0.0.1", "--port", str(port)]
    directory.mkdir()
    with (directory / "log").open("wb") as log, _running(command, log, env=kept | settings) as process:
        api = f"http://127.0.0.1:{port}/api"
        end = time.monotonic() + START_S
        while not _answers(api):
            assert process.poll() is None and time.monotonic() < end, (directory / "log").read_text()[-2000:]
            time.sleep(0.2)
        yield api


@contextmanager
def postgres_server(port: int) -> Iterator[str]:
    """Start a Postgres with nothing in it, which ends with its files; yield what Prefect reaches it by."""
    identity = _AS_POSTGRES if os.geteuid() == 0 else {}  # it refuses to be run by root
    directory = Path(tempfile.mkdtemp(prefix="slipway-postgres-"))
    try:
        if identity:
            shutil.chown(directory, "postgres", "postgres")
        initdb = ["initdb", "-D", str(directory / "data"), "-U", "prefect", "--auth=trust", "--no-sync", "-E", "UTF8"]
        subprocess.run(initdb, check=True, capture_output=True, cwd=directory, **identity)
        command = ["postgres", "-D", str(directory / "data"), "-p", str(port), "-k", str(directory), "-h", "127.0.0.1"]
        with (directory / "log").open("wb") as log, _running(command, log, cwd=directory, **identity):
            ready, end = ["pg_isready", "-h", "127.0.0.1", "-p", str(port)], time.monotonic() + START_S
            while subprocess.run(ready, capture_output=True, check=False).returncode != 0:
                assert time.monotonic() < end, (directory / "log").read_text()[-2000:]
                time.sleep(0.2)
            yield f"postgresql+asyncpg://prefect@127.0.0.1:{port}/postgres"
    finally:
        shutil.rmtree(directory, ignore_errors=True)


@contextmanager
def _running(command: list[str], log: Any, **options: Any) -> Iterator[subprocess.Popen[bytes]]:
    process = subprocess.Popen(command, stdout=log, stderr=subprocess.STDOUT, stdin=subprocess.DEVNULL, **options)
    try:
        yield process
    finally:
        process.terminate()
        try:
            process.wait(20)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()


def _answers(api: str) -> bool:
    try:
        return httpx.get(f"{api}/health", timeout=5).is_success
    except httpx.HTTPError:
        return False
