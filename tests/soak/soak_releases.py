"""Many releases at once, in PID namespaces of their own under one host name, killed and paused at random.

`make soak ARGS="--rounds 50"`. Each round releases eight versions of one model and four versions of each of four
others at the same time. Afterwards no number was taken twice, `previous` is the version that was live before, and what
is live is served, by its own weights, on every replica.
"""

import ctypes
import os
import random
import signal
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any
from uuid import UUID

import psutil
import pytest
from rich.console import Console

from blocks.environment import Environment
from flows.reconciliation import reconcile_models
from slipway.releases import lock
from tests.apparatus.consistency import assert_consistent
from tests.apparatus.given import given, new_name, withdraw
from tests.apparatus.killing import Death, Ending, StartedRelease, carry_out
from tests.apparatus.locks import end_lease
from tests.flows.test_killed_release import POINTS

MODELS, OF_ONE, OF_EACH = 4, 8, 4
LEASE_S = 3.0
LONGEST_PAUSE_S = 2.5 * LEASE_S
FATES = (None, None, signal.SIGKILL, signal.SIGSTOP)
_NEW_PID_NAMESPACE = 0x20000000  # CLONE_NEWPID, see unshare(2)


@pytest.mark.timeout(24 * 3600)
def test_releases_that_are_killed_and_paused_at_random_lose_nothing(
    environment: Environment, request: pytest.FixtureRequest
) -> None:
    seed = random.randrange(10**6)
    chance = random.Random(seed)
    rounds: int = request.config.getoption("--rounds")
    for number in range(1, rounds + 1):
        one, *others = [given(environment, new_name()).registered(n).model_name for n in (OF_ONE, *[OF_EACH] * MODELS)]
        wanted = [(one, version) for version in range(1, OF_ONE + 1)]
        wanted += [(name, version) for name in others for version in range(1, OF_EACH + 1)]
        chance.shuffle(wanted)

        endings = _released(wanted, chance)

        for name in (one, *others):
            end_lease(environment.repository, name)
            reconcile_models([name])
            _assert_sound(environment, name, [ending for model, ending in endings if model == name])
            withdraw(environment, name)
        states = [str(ending.state_name) for _, ending in endings]
        counted = {state: states.count(state) for state in sorted(set(states))}
        Console(highlight=False).print(f"round {number} of {rounds}, seed {seed}: {counted}")


def _released(wanted: list[tuple[str, int]], chance: random.Random) -> list[tuple[str, Ending]]:
    started = []
    for name, version in wanted:
        fate = chance.choice(FATES)
        death = Death(chance.randrange(POINTS), signal=fate) if fate else None
        started.append((name, StartedRelease(name, death, by=_release_in_a_namespace, source=f"version:{version}")))
    with _going_on(chance):
        return [(name, release.wait()) for name, release in started]


@contextmanager
def _going_on(chance: random.Random) -> Iterator[None]:
    """Let every process that was stopped go on after a while of its own."""
    ended, since = threading.Event(), dict[int, float]()

    def look() -> None:
        while not ended.wait(0.1):
            for process in psutil.Process().children(recursive=True):
                with suppress(psutil.Error):
                    if process.status() == psutil.STATUS_STOPPED:
                        until = since.setdefault(process.pid, time.monotonic() + chance.uniform(0, LONGEST_PAUSE_S))
                        if time.monotonic() > until:
                            since.pop(process.pid)
                            process.send_signal(signal.SIGCONT)

    looking = threading.Thread(target=look, daemon=True)
    looking.start()
    try:
        yield
    finally:
        ended.set()
        looking.join()


def _release_in_a_namespace(
    flow_run_id: UUID, death: Death | None, meeting: Any, reports: Connection, log: Path
) -> None:
    """Release in a process that is number 2 of a PID namespace of its own, as in a container."""
    lock.LEASE_S = LEASE_S
    if ctypes.CDLL(None, use_errno=True).unshare(_NEW_PID_NAMESPACE) != 0:
        raise OSError(ctypes.get_errno(), "no PID namespace of its own; run as root")
    if (first := os.fork()) != 0:  # number 1, which signals of its own namespace do not stop
        reports.close()
        os._exit(os.waitstatus_to_exitcode(os.waitpid(first, 0)[1]) & 0xFF)
    if (second := os.fork()) != 0:
        reports.close()
        os._exit(os.waitstatus_to_exitcode(os.waitpid(second, 0)[1]) & 0xFF)
    try:
        carry_out(flow_run_id, death, meeting, reports, log)
    finally:
        reports.close()
        os._exit(0)


def _assert_sound(environment: Environment, model_name: str, endings: list[Ending]) -> None:
    done = [ending.release for ending in endings if ending.state_name == "Completed" and ending.release]
    numbers = [release.plan.version for release in done]
    assert len(numbers) == len(set(numbers)), f"{model_name}: numbers {numbers}"
    assert_consistent(environment, model_name)
    assert all(
        release.plan.aliases_before.get("live") != release.plan.registry_version or release.plan.already_live
        for release in done
    )
