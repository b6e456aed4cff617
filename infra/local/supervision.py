"""Runs the servers under supervisor, and sees to it that none of their processes outlives the stack."""

import contextlib
import os
import subprocess
import sys
import time
from collections.abc import Iterable
from http.client import HTTPException
from pathlib import Path
from typing import Any, NamedTuple, cast
from xmlrpc.client import Error, Fault, ServerProxy

import psutil
from supervisor.xmlrpc import SupervisorTransport

from infra.errors import StackError
from infra.local import store
from infra.local.environments import (
    format_configuration,
    inherit_environment,
    make_program_environments,
    make_supervisor_environment,
)
from infra.local.settings import ROOT, LocalStack

CONFIGURATION = ROOT / "infra" / "local" / "supervisord.conf"
SOCKET_PATH_LIMIT = 104  # bytes an AF_UNIX address holds on every system supported
STOP_DEADLINE_S = 30.0
SHARED_MEMORY = Path("/dev/shm")  # noqa: S108
MARK = "SLIPWAY_SUPERVISED"


class Program(NamedTuple):
    """What supervisor knows about one server."""

    name: str
    state: str
    pid: int
    uptime_s: int

    @property
    def alive(self) -> bool:
        """True while its process runs."""
        return self.state in ("STARTING", "RUNNING")


def start_supervisor(stack: LocalStack, triton_python: str | None) -> None:
    """Start supervisord in the background with the programs that depend on no other."""
    socket = stack.state / "supervisor.sock"
    if len(os.fsencode(socket)) >= SOCKET_PATH_LIMIT:
        raise StackError(f"the path {socket} is too long for a socket; set SLIPWAY_STATE to a shorter directory")
    for directory in ("logs", "triton", "prefect", "s3"):
        (stack.state / directory).mkdir(parents=True, exist_ok=True)
    store.write_identities(stack)
    command = [sys.executable, "-m", "supervisor.supervisord", "-c", str(_write_configuration(stack))]
    variables = inherit_environment() | make_supervisor_environment(stack, triton_python) | make_mark(stack)
    answer = subprocess.run(command, env=variables, capture_output=True, text=True, check=False, cwd=ROOT)  # noqa: S603
    if answer.returncode != 0:
        raise StackError(f"supervisord did not start: {(answer.stderr or answer.stdout).strip()}")
    _await_socket(stack)


def _write_configuration(stack: LocalStack) -> Path:
    """Write supervisord's configuration with each program's environment, readable by its owner only."""
    path = stack.state / "supervisord.conf"
    path.touch(mode=0o600)
    path.write_text(CONFIGURATION.read_text() + format_configuration(make_program_environments(stack)))
    return path


def _await_socket(stack: LocalStack, deadline_s: float = 10.0) -> None:
    end = time.monotonic() + deadline_s
    while not is_up(stack):
        if time.monotonic() > end:
            raise StackError(f"supervisord did not answer within {deadline_s:.0f} s; see {stack.log('supervisord')}")
        time.sleep(0.1)


def _connect(stack: LocalStack) -> Any:
    transport = cast(Any, SupervisorTransport)(None, None, serverurl=f"unix://{stack.state}/supervisor.sock")
    return cast(Any, ServerProxy("http://127.0.0.1", transport=transport)).supervisor


def is_up(stack: LocalStack) -> bool:
    """Return whether the stack's supervisor answers."""
    try:
        return bool(_connect(stack).getState()["statename"] == "RUNNING")
    except (OSError, HTTPException, Error):
        return False


def list_programs(stack: LocalStack) -> dict[str, Program]:
    """Return what every server does now, by name."""
    answer = {info["name"]: info for info in _connect(stack).getAllProcessInfo()}
    return {
        name: Program(name, info["statename"], info["pid"], max(0, info["now"] - info["start"]) if info["pid"] else 0)
        for name, info in answer.items()
        if name in stack.servers
    }


def start_programs(stack: LocalStack, names: Iterable[str]) -> dict[str, int]:
    """Start servers that do not run, without waiting until they are ready; return the process id of each."""
    before = list_programs(stack)
    for name in names:
        if not before[name].alive:
            with contextlib.suppress(Fault):  # it died at once: whoever waits for it sees that, with its log
                _connect(stack).startProcess(name, False)
    now = list_programs(stack)
    return {name: now[name].pid for name in names}


def stop_program(stack: LocalStack, name: str) -> None:
    """Stop one server and wait until it has ended."""
    _connect(stack).stopProcess(name)


def stop(stack: LocalStack) -> bool:
    """Stop every process of the stack, orphans included; return whether there was any."""
    stopped = False
    if is_up(stack):
        with contextlib.suppress(OSError, HTTPException, Error):
            supervisor = _connect(stack)
            if list_programs(stack)["worker"].alive:
                supervisor.stopProcess("worker")  # first, so that flow runs can still say that they were stopped
            supervisor.stopAllProcesses()
            supervisor.shutdown()
            stopped = True
        _await_end(stack)
    if not (_sweep(stack) or stopped):
        return False
    store.remove_sockets(stack)
    return True


def _await_end(stack: LocalStack) -> None:
    end = time.monotonic() + STOP_DEADLINE_S
    while (stack.state / "supervisord.pid").exists() and time.monotonic() < end:
        time.sleep(0.05)


def find_processes(stack: LocalStack) -> list[psutil.Process]:
    """Return the processes that carry this stack's mark in their environment."""
    return [process for process in psutil.process_iter() if _read_mark(process) == str(stack.state)]


def make_mark(stack: LocalStack) -> dict[str, str]:
    """Return the variable that every process of this stack, and no other, carries."""
    return {MARK: str(stack.state)}


def _read_mark(process: psutil.Process) -> str | None:
    try:
        return process.environ().get(MARK)
    except (psutil.Error, OSError):
        return None


def _sweep(stack: LocalStack) -> bool:
    left = find_processes(stack)
    for process in left:
        with contextlib.suppress(psutil.Error):
            process.terminate()
    _, alive = psutil.wait_procs(left, timeout=3)
    for process in alive:
        with contextlib.suppress(psutil.Error):
            process.kill()
    psutil.wait_procs(alive, timeout=3)
    for leftover in (stack.state / "supervisor.sock", *SHARED_MEMORY.glob(f"{stack.memory_prefix}*")):
        leftover.unlink(missing_ok=True)
    return bool(left)
