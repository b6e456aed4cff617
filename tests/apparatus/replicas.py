"""The Triton replicas of the local stack, as things that a test stops, freezes, restarts and breaks."""

import subprocess
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

import psutil

from infra.local.readiness import answers
from infra.local.settings import LocalStack
from infra.local.supervision import list_programs, start_programs, stop_program
from tests.apparatus.transports import Request, Send, interfering

START_DEADLINE_S = 90.0


class Replica:
    """One replica of the stack, by its number."""

    def __init__(self, stack: LocalStack, number: int) -> None:
        self._stack = stack
        self.name = stack.triton_names[number]
        self.address = stack.triton_addresses[number]
        self.url = stack.triton_urls[self.name]
        self._downloads = stack.state / "triton" / str(number) / "downloads"

    def stop(self) -> None:
        """Stop it and return when it has ended."""
        stop_program(self._stack, self.name)

    def start(self) -> None:
        """Start it, if it does not run, and return when it answers, with all its models loaded."""
        start_programs(self._stack, [self.name])
        deadline = time.monotonic() + START_DEADLINE_S
        while not answers(self._stack, self.name):
            assert time.monotonic() < deadline, f"{self.name} did not start within {START_DEADLINE_S} s"
            time.sleep(0.1)

    def restart(self) -> None:
        """Stop it and start it again."""
        self.stop()
        self.start()

    @contextmanager
    def stopped(self) -> Iterator[None]:
        """Keep it down while the block runs."""
        self.stop()
        try:
            yield
        finally:
            self.start()

    @property
    def process(self) -> psutil.Process:
        """The `tritonserver` process."""
        return psutil.Process(list_programs(self._stack)[self.name].pid)

    def stub(self, model_name: str) -> psutil.Process:
        """The newest process that computes this model, or one whose name contains it."""
        return max(self.stubs(model_name), key=lambda stub: stub.create_time())

    def stubs(self, model_name: str) -> list[psutil.Process]:
        """The processes that compute this model, or one whose name contains it, those of other versions included."""
        found = []
        for child in self.process.children():
            with suppress(psutil.NoSuchProcess):  # it has ended since
                if child.status() != psutil.STATUS_ZOMBIE and any(model_name in word for word in child.cmdline()):
                    found.append(child)
        return found

    @contextmanager
    def full_disk(self) -> Iterator[None]:
        """Leave no room to download models to; where nothing can be mounted, no directory either."""
        mount = ["mount", "-t", "tmpfs", "-o", "size=16k", "tmpfs", str(self._downloads)]
        mounted = subprocess.run(mount, capture_output=True, check=False).returncode == 0
        away = Path(f"{self._downloads}.away")
        if not mounted:
            self._downloads.rename(away)
            self._downloads.touch()
        try:
            yield
        finally:
            if mounted:
                subprocess.run(["umount", "--lazy", str(self._downloads)], check=True)
            else:
                self._downloads.unlink()
                away.rename(self._downloads)


@contextmanager
def around_first_load(
    address: str, before: Callable[[], object] | None = None, after: Callable[[], object] | None = None
) -> Iterator[None]:
    """Do something before or after the first load a replica is asked for by who loads the environment meanwhile."""
    loads = 0

    def interfere(request: Request, send: Send) -> object:
        nonlocal loads
        is_load = (request.address, request.method) == (address, "load_model")
        loads += is_load
        first = is_load and loads == 1
        if first and before:
            before()
        answer = send()
        if first and after:
            after()
        return answer

    with interfering(interfere):
        yield
