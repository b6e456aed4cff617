"""A PostgreSQL of a test's own, where Debian's package has put one."""

import os
import shutil
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from tempfile import TemporaryDirectory

from tests.apparatus.ports import free_port

_PROGRAMS = "/usr/lib/postgresql/*/bin"
_OWNER = "postgres"  # of Debian's package: the server does not run as root


def find_postgres() -> Path | None:
    """Return the directory of the newest server's programs, None where none is installed."""
    found = sorted(Path("/").glob(f"{_PROGRAMS.lstrip('/')}/initdb"), key=lambda path: float(path.parts[-3]))
    return found[-1].parent if found else None


@contextmanager
def postgres(programs: Path) -> Iterator[str]:
    """Yield the URL, as SQLAlchemy reads it, of an empty database that only this machine reaches."""
    port = free_port()
    with TemporaryDirectory(prefix="slipway-postgres-") as directory:
        data = Path(directory, "data")
        data.mkdir()
        if os.geteuid() == 0:
            Path(directory).chmod(0o755)
            shutil.chown(data, _OWNER)
        _run(programs, "initdb", "--pgdata", str(data), "--username", _OWNER, "--auth", "trust", "--no-sync")
        options = f"-c listen_addresses=127.0.0.1 -c port={port} -c unix_socket_directories={data}"
        server = ("pg_ctl", "--pgdata", str(data), "--wait", "--log", str(data / "log"))
        _run(programs, *server, "--options", options, "start")
        try:
            yield f"postgresql+asyncpg://{_OWNER}@127.0.0.1:{port}/{_OWNER}"
        finally:
            _run(programs, *server, "--mode", "immediate", "stop")


def _run(programs: Path, program: str, *arguments: str) -> None:
    command = [str(programs / program), *arguments]
    if os.geteuid() == 0:
        command = ["runuser", "-u", _OWNER, "--", *command]
    done = subprocess.run(command, cwd="/", stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True, timeout=120)
    assert done.returncode == 0, done.stderr
