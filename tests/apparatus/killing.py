"""Releases in processes of their own, which end where a test says, by SIGKILL or as a cancellation ends them.

A fork server imports the flows once; each release is then a fork of it and costs no imports. What such a process
does is reported event by event: the beginning and end of every step, and every call that changes something.
"""

import functools
import multiprocessing
import os
import signal
import socket
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext
from multiprocessing.connection import Connection
from multiprocessing.synchronize import Barrier
from pathlib import Path
from typing import Any, NamedTuple
from unittest import mock
from uuid import UUID

import psutil
from prefect import Flow, Task
from prefect.client.orchestration import get_client
from prefect.engine import handle_engine_signals
from prefect.flow_engine import run_flow
from prefect.states import Cancelled, Cancelling, Pending
from urllib3.connection import HTTPConnection

from blocks.fleet import TritonFleet
from blocks.object_store import ObjectStore
from blocks.registry import ModelRegistry
from flows.adoption import adopt_model
from flows.deployment import deploy_model
from flows.withdrawal import withdraw_model

MUTATIONS: dict[type, tuple[str, ...]] = {
    ObjectStore: ("write", "replace", "upload", "copy", "delete", "delete_if", "delete_all"),
    ModelRegistry: ("set_alias", "remove_alias", "tag_version", "tag_model"),
    TritonFleet: ("load_model", "unload_model"),
}
REQUEST_ON_THE_WIRE_S = 0.03
SOME_BYTES = 64 * 1024
_END = " ends"
END_DEADLINE_S = 600.0
MEETING_DEADLINE_S = 90.0
_processes = multiprocessing.get_context("forkserver")
# Prefect imports every installed collection when it loads its first block.
_processes.set_forkserver_preload([__name__, "prefect_kubernetes"])


class Death(NamedTuple):
    """Where a process ends: before an event or, `within` a call, while what it asked for is being done.

    `place` is the beginning of an event's text, of which the `nth` counts, or the number of an event, counted from 0
    without the ends of steps: they are followed by the next step's beginning.
    """

    place: int | str
    nth: int = 1
    within: bool = False
    signal: int = signal.SIGKILL

    def __str__(self) -> str:
        name = f"event {self.place}" if isinstance(self.place, int) else f"{self.place} {self.nth}"
        return f"{signal.Signals(self.signal).name} {'within' if self.within else 'before'} {name}"


class Meeting(NamedTuple):
    """Before which event releases wait until each of them is there: impossible where one waits for another's end."""

    everyone: Barrier
    place: str

    @classmethod
    def of(cls, releases: int, place: str) -> "Meeting":
        """Return a meeting of this many releases."""
        return cls(_processes.Barrier(releases, timeout=MEETING_DEADLINE_S), place)


class Event(NamedTuple):
    """Something a release began to do, and when, in seconds since the epoch."""

    what: str
    at_s: float


class Ending(NamedTuple):
    """How a flow run's process ended."""

    flow_run_id: UUID
    exit_code: int | None
    events: tuple[Event, ...]
    state_name: str | None  # None where the process died
    message: str | None
    release: Any  # what the flow returned
    log: str

    @property
    def was_killed(self) -> bool:
        """Whether SIGKILL ended it."""
        return self.exit_code == -signal.SIGKILL

    @property
    def trace(self) -> tuple[str, ...]:
        """What it did, in order."""
        return tuple(event.what for event in self.events)

    @property
    def points(self) -> tuple[str, ...]:
        """The events that `Death` counts."""
        return tuple(what for what in self.trace if not what.endswith(_END))

    def step(self, name: str) -> tuple[float, float]:
        """Return when a step began and ended, in seconds since the epoch."""
        times = {event.what: event.at_s for event in self.events}
        return times[f"{name} begins"], times[f"{name}{_END}"]


class StartedRelease:
    """A release that runs in a process of its own."""

    def __init__(
        self,
        model_name: str,
        death: Death | None = None,
        meeting: Meeting | None = None,
        by: "CarryOut | None" = None,
        of: Flow[..., Any] = deploy_model,
        **parameters: Any,
    ) -> None:
        with get_client(sync_client=True) as client:
            given = {"model_name": model_name, **parameters}
            self.flow_run_id = client.create_flow_run(of, parameters=given, state=Pending()).id
        self._reports, reports = _processes.Pipe(duplex=False)
        with tempfile.NamedTemporaryFile(prefix="slipway-release-", suffix=".log", delete=False) as log:
            self._log = Path(log.name)
        arguments = (self.flow_run_id, death, meeting, reports, self._log)
        self._process = _processes.Process(target=by or carry_out, args=arguments, daemon=True)
        self._process.start()
        reports.close()

    def wait(self) -> Ending:
        """Return how it ended; one that does not end is killed, and fails the test."""
        overdue = threading.Timer(END_DEADLINE_S, self._process.kill)
        overdue.start()
        try:
            received = list(self._received())
            self._process.join()
        finally:
            overdue.cancel()
        log = self._log.read_text(errors="replace")
        self._log.unlink()
        events = tuple(item for item in received if isinstance(item, Event))
        name, message, release = next((item for item in received if not isinstance(item, Event)), (None, None, None))
        return Ending(self.flow_run_id, self._process.exitcode, events, name, message, release, log)

    def wait_until_stopped(self) -> None:
        """Return once it was stopped by SIGSTOP where its `Death` says; one that ends before fails the test."""
        process = psutil.Process(self._process.pid)
        deadline = time.monotonic() + END_DEADLINE_S
        while process.status() != psutil.STATUS_STOPPED:
            assert process.is_running() and process.status() != psutil.STATUS_ZOMBIE, self._log.read_text()
            assert time.monotonic() < deadline, "it has not come to where it is stopped"
            time.sleep(0.02)

    def go_on(self) -> None:
        """Let a stopped process go on."""
        os.kill(self._process.pid or 0, signal.SIGCONT)

    def _received(self) -> Iterator[Any]:
        while True:
            try:
                yield self._reports.recv()
            except EOFError:
                return


def release(model_name: str, death: Death | None = None, **parameters: Any) -> Ending:
    """Release a model in a process of its own and return how that ended."""
    return StartedRelease(model_name, death, **parameters).wait()


def adopt(model_name: str, death: Death | None = None, **parameters: Any) -> Ending:
    """Adopt a model in a process of its own and return how that ended."""
    return StartedRelease(model_name, death, by=carry_out_adoption, of=adopt_model, **parameters).wait()


def withdraw(model_name: str, death: Death | None = None, **parameters: Any) -> Ending:
    """Withdraw a model in a process of its own and return how that ended."""
    return StartedRelease(model_name, death, by=carry_out_withdrawal, of=withdraw_model, **parameters).wait()


def cancel(flow_run_id: UUID) -> None:
    """Do what Prefect's worker does when a cancelled run's process has ended: run the hooks, set the state."""
    with get_client(sync_client=True) as client:
        client.set_flow_run_state(flow_run_id, Cancelling(), force=True)
        flow_run = client.read_flow_run(flow_run_id)
        assert flow_run.state is not None
        for hook in deploy_model.on_cancellation_hooks:
            hook(deploy_model, flow_run, flow_run.state)
        client.set_flow_run_state(flow_run_id, Cancelled(), force=True)


def carry_out(flow_run_id: UUID, death: Death | None, meeting: Meeting | None, reports: Connection, log: Path) -> None:
    """Run a release in this process, which is there for nothing else."""
    _carry_out(deploy_model, flow_run_id, death, meeting, reports, log)


def carry_out_adoption(
    flow_run_id: UUID, death: Death | None, meeting: Meeting | None, reports: Connection, log: Path
) -> None:
    """Run an adoption in this process, which is there for nothing else."""
    _carry_out(adopt_model, flow_run_id, death, meeting, reports, log)


def carry_out_withdrawal(
    flow_run_id: UUID, death: Death | None, meeting: Meeting | None, reports: Connection, log: Path
) -> None:
    """Run a withdrawal in this process, which is there for nothing else."""
    _carry_out(withdraw_model, flow_run_id, death, meeting, reports, log)


def _carry_out(
    flow: Flow[..., Any],
    flow_run_id: UUID,
    death: Death | None,
    meeting: Meeting | None,
    reports: Connection,
    log: Path,
) -> None:
    with log.open("ab", buffering=0) as file:
        os.dup2(file.fileno(), 1)
        os.dup2(file.fileno(), 2)
    # As the worker starts a run: cancelling it is the worker's to finish.
    os.environ["PREFECT__ENABLE_CANCELLATION_AND_CRASHED_HOOKS"] = "false"
    observer = _Observer(death, meeting, reports)
    observer.watch()
    with get_client(sync_client=True) as client:
        flow_run = client.read_flow_run(flow_run_id)
    with handle_engine_signals(flow_run_id):
        state: Any = run_flow(flow, flow_run=flow_run, parameters=flow_run.parameters, return_type="state")
    result = state.result(raise_on_failure=False) if state.is_completed() else None
    reports.send((state.name, state.message, result))


CarryOut = Callable[[UUID, Death | None, Meeting | None, Connection, Path], None]


class _Worker:
    """The worker's end of a run's control channel, over which it says that the signal to come is a cancellation.

    A run that hears nothing takes SIGTERM for a crash. (Prefect, `prefect/runner/_control_channel.py`, protocol 1.)
    """

    def __init__(self) -> None:
        self._server = socket.create_server(("127.0.0.1", 0))
        os.environ["PREFECT__CONTROL_PORT"] = str(self._server.getsockname()[1])
        os.environ["PREFECT__CONTROL_TOKEN"] = "told"

    def announce_cancellation(self) -> None:
        """Say it, and return once the run has acknowledged that it heard."""
        connection, _ = self._server.accept()
        connection.settimeout(MEETING_DEADLINE_S)
        connection.sendall(b"c")
        while b"a" not in (heard := connection.recv(64)):
            assert heard, "the run has closed its control channel"


class _Observer:
    """Reports what this process does, makes it wait where it is to meet others, and ends it where it is to end."""

    def __init__(self, death: Death | None, meeting: Meeting | None, reports: Connection) -> None:
        self._death, self._meeting, self._reports = death, meeting, reports
        self._lock = threading.Lock()
        self._points, self._matches = 0, 0
        self._worker = _Worker() if death and death.signal == signal.SIGTERM else None
        self._is_dying = False

    def watch(self) -> None:
        """Watch every step and every call that changes something, from now on."""
        for owner, names in MUTATIONS.items():
            for name in names:
                if hasattr(owner, name):
                    setattr(owner, name, self._watched_call(f"{owner.__name__}.{name}", getattr(owner, name)))
        for step in _steps():
            step.fn = self._watched_step(step.name, step.fn)

    def _watched_call(self, what: str, method: Callable[..., Any]) -> Callable[..., Any]:
        @functools.wraps(method)
        def watched(owner: Any, *args: Any, **kwargs: Any) -> Any:
            if args and str(args[0]).startswith("locks/"):  # renewed by a thread of its own, whenever that is
                return method(owner, *args, **kwargs)
            last = self._begin(" ".join([what, *(str(value) for value in args if isinstance(value, str | int))]))
            with _MIDDLES[what](self._die) if last else nullcontext():
                return method(owner, *args, **kwargs)

        return watched

    def _watched_step(self, name: str, function: Callable[..., Any]) -> Callable[..., Any]:
        @functools.wraps(function)
        def watched(*args: Any, **kwargs: Any) -> Any:
            self._begin(f"{name} begins")
            result = function(*args, **kwargs)
            self._begin(f"{name}{_END}")
            return result

        return watched

    def _begin(self, what: str) -> bool:
        """Report an event and die before it where that is asked for; return whether to die within it."""
        with self._lock:
            last = self._is_last(what)
            self._points += not what.endswith(_END)
            self._reports.send(Event(what, time.time()))
        if self._meeting and what == self._meeting.place:
            self._meeting.everyone.wait()
        if last and self._death and not self._death.within:
            self._die()
            return False
        return last

    def _is_last(self, what: str) -> bool:
        if self._death is None:
            return False
        if isinstance(self._death.place, int):
            return not what.endswith(_END) and self._death.place == self._points
        self._matches += what.startswith(self._death.place)
        return what.startswith(self._death.place) and self._matches == self._death.nth

    def _die(self) -> None:
        """End this process, once: a thread goes on while the main one takes note of a cancellation."""
        assert self._death is not None
        if self._is_dying:
            return
        self._is_dying = True
        if self._worker is not None:
            self._worker.announce_cancellation()
        os.kill(os.getpid(), self._death.signal)


def _steps() -> list[Task[..., Any]]:
    modules = [module for name, module in sys.modules.items() if name.startswith("tasks.")]
    found = {id(value): value for module in modules for value in vars(module).values() if isinstance(value, Task)}
    return list(found.values())


@contextmanager
def _once_some_bytes_are_sent(die: Callable[[], None]) -> Iterator[None]:
    sendall, sent_bytes = socket.socket.sendall, 0

    def watched(connection: socket.socket, data: Any, *flags: int) -> None:
        nonlocal sent_bytes
        sendall(connection, data, *flags)
        sent_bytes += len(data)
        if sent_bytes > SOME_BYTES:
            die()

    with mock.patch.object(socket.socket, "sendall", watched):
        yield


@contextmanager
def _while_the_server_works(die: Callable[[], None]) -> Iterator[None]:
    threading.Timer(REQUEST_ON_THE_WIRE_S, die).start()
    yield


@contextmanager
def _before_the_answer(die: Callable[[], None]) -> Iterator[None]:
    caller, getresponse = threading.get_ident(), HTTPConnection.getresponse

    def watched(connection: HTTPConnection) -> Any:
        if threading.get_ident() == caller:
            die()
        return getresponse(connection)

    with mock.patch.object(HTTPConnection, "getresponse", watched):
        yield


_MIDDLES: dict[str, Callable[[Callable[[], None]], AbstractContextManager[None]]] = {
    "ObjectStore.upload": _once_some_bytes_are_sent,
    "TritonFleet.load_model": _while_the_server_works,
    "TritonFleet.unload_model": _while_the_server_works,
    "ModelRegistry.set_alias": _before_the_answer,
    "ModelRegistry.remove_alias": _before_the_answer,
}
