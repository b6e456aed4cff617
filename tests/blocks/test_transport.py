"""A process keeps one connection to each replica, and one that broke keeps nobody from reaching the replica again."""

import os
import pickle
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from itertools import count
from queue import Queue
from types import FrameType

import pytest
from tritonclient.utils import InferenceServerException

from blocks.errors import AccessRefused, LoadFailed, ReplicaLost, ServiceUnavailable
from blocks.fleet import TritonFleet
from blocks.transport_security import TransportSecurity
from infra.local.settings import ROOT
from tests.apparatus.ports import free_port
from tests.apparatus.telling_server import TellingServer, told_connection
from tests.apparatus.transports import Request, Send, interfered

FORK = """
import os, sys
from blocks.fleet import TritonFleet
from tests.apparatus.telling_server import told_connection
fleet = TritonFleet(replicas=[sys.argv[1]], call_timeout_s=5)
before = told_connection(fleet, sys.argv[1])
child = os.fork()
if not child:
    sys.exit(told_connection(fleet, sys.argv[1]) == before)
status = os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])
sys.exit(status or told_connection(fleet, sys.argv[1]) != before)
"""


class Interrupted(Exception):
    """What a signal's handler raises."""


@contextmanager
def interrupted_at_lock(number: int) -> Iterator[None]:
    """Raise in this thread where it has just locked a condition for the nth time, as a signal's exception may be."""
    locked = 0

    def look(frame: FrameType, event: str, _: object) -> None:
        nonlocal locked
        if event == "c_return" and frame.f_code is threading.Condition.__enter__.__code__:
            locked += 1
            if locked == number:
                raise Interrupted

    sys.setprofile(look)
    try:
        yield
    finally:
        sys.setprofile(None)


@pytest.fixture
def server() -> Iterator[TellingServer]:
    """A server nobody has asked anything yet."""
    server = TellingServer(free_port())
    yield server
    server.go_on()
    server.kill()


@pytest.fixture
def fleet(server: TellingServer) -> TritonFleet:
    return TritonFleet(replicas=[server.address], call_timeout_s=1)


def test_one_connection_serves_every_call_of_every_fleet_and_thread(server: TellingServer, fleet: TritonFleet) -> None:
    patient = TritonFleet(replicas=[server.address], call_timeout_s=20)

    with ThreadPoolExecutor(8) as threads:
        told = list(
            threads.map(lambda number: told_connection((fleet, patient)[number % 2], server.address), range(80))
        )

    assert len(set(told)) == 1


def test_each_replica_has_a_connection_of_its_own(server: TellingServer, fleet: TritonFleet) -> None:
    other = TellingServer(free_port())

    told = {told_connection(fleet, address)[1] for address in (server.address, other.address)}

    other.kill()
    assert len(told) == 2


def test_a_replica_that_restarted_between_two_calls_is_reached_by_the_second(
    server: TellingServer, fleet: TritonFleet
) -> None:
    before = told_connection(fleet, server.address)
    server.kill()
    server.start()

    after = told_connection(fleet, server.address)

    assert after[1] != before[1]


def test_a_replica_that_was_found_lost_is_reached_as_soon_as_it_answers_again(
    server: TellingServer, fleet: TritonFleet
) -> None:
    told_connection(fleet, server.address)
    server.kill()
    for _ in range(5):  # each would make gRPC wait for longer before it tries again
        with pytest.raises(ReplicaLost, match=f"Triton {server.address}: no answer to the repository index"):
            fleet.read_index(server.address)
    server.start()

    assert told_connection(fleet, server.address)


def test_a_replica_that_hangs_is_given_up_in_time_and_reached_when_it_goes_on(
    server: TellingServer, fleet: TritonFleet
) -> None:
    told_connection(fleet, server.address)
    server.freeze()
    start = time.monotonic()

    for _ in range(2):
        with pytest.raises(ServiceUnavailable, match=r"no answer to the repository index within 1 s") as given_up:
            fleet.read_index(server.address)
        assert type(given_up.value) is ServiceUnavailable
    waited_s = time.monotonic() - start
    server.go_on()

    assert 1.9 < waited_s < 10
    assert told_connection(fleet, server.address)


def test_a_thread_whose_call_goes_on_is_not_disturbed_by_one_that_gives_up(
    server: TellingServer, fleet: TritonFleet
) -> None:
    patient = TritonFleet(replicas=[server.address], call_timeout_s=30)
    told_connection(fleet, server.address)
    server.freeze()

    with ThreadPoolExecutor(1) as thread:
        waiting = thread.submit(told_connection, patient, server.address)
        with pytest.raises(ServiceUnavailable):
            fleet.read_index(server.address)
        server.go_on()

        assert waiting.result()


def test_who_speaks_tls_does_not_share_a_connection_with_who_does_not(
    server: TellingServer, fleet: TritonFleet
) -> None:
    told_connection(fleet, server.address)
    secured = TritonFleet(replicas=[server.address], call_timeout_s=1, tls=TransportSecurity(server_name="a.example"))

    with pytest.raises(AccessRefused, match="Tls handshake failed"):
        secured.read_index(server.address)

    assert told_connection(fleet, server.address)


def test_a_forked_process_makes_a_connection_of_its_own_and_leaves_its_parents(server: TellingServer) -> None:
    forking = subprocess.run(
        [sys.executable, "-c", FORK, server.address],
        env=os.environ | {"PYTHONPATH": str(ROOT)},
        capture_output=True,
        text=True,
        timeout=120,
    )

    assert forking.returncode == 0, forking.stderr


def test_a_fleet_that_has_spoken_can_be_sent_to_another_process(server: TellingServer, fleet: TritonFleet) -> None:
    told_connection(fleet, server.address)

    sent = pickle.loads(pickle.dumps(fleet))

    assert told_connection(sent, server.address)


def test_a_fault_is_an_argument_of_the_fleet(server: TellingServer, fleet: TritonFleet) -> None:
    asked: list[Request] = []

    def refuse_loads(request: Request, send: Send) -> object:
        asked.append(request)
        if request.method == "load_model":
            raise InferenceServerException("injected", status="StatusCode.INTERNAL")
        return send()

    faulty = interfered(fleet, refuse_loads)

    with pytest.raises(LoadFailed, match=r"model 'm' on Triton .*: load refused \(injected\)"):
        faulty.load_model(server.address, "m")

    assert told_connection(faulty, server.address) == told_connection(fleet, server.address)
    assert asked == [
        Request(server.address, "load_model", "m"),
        Request(server.address, "get_model_repository_index", None),
    ]


def test_whatever_interrupts_the_main_thread_leaves_the_connection_to_others(
    server: TellingServer, fleet: TritonFleet
) -> None:
    told: Queue[object] = Queue()
    interruptions = 0

    for number in count(1):
        try:
            with interrupted_at_lock(number):
                fleet.read_index(server.address)
        except Interrupted:
            interruptions += 1
            # no pool, whose end would wait for a thread that hangs
            threading.Thread(target=lambda: told.put(told_connection(fleet, server.address)), daemon=True).start()
            assert told.get(timeout=20)
        else:
            break

    assert interruptions > 0
