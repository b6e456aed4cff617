"""The stack that the tests of a session share: the same servers, started by the same code, as `make up`.

Where pytest-xdist spreads the tests over several processes, each has a stack, and ports, of its own.
"""

import os
import random
import shutil
import signal
import socket
import time
import uuid
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from itertools import groupby
from pathlib import Path
from typing import TYPE_CHECKING, NoReturn

import pytest

from infra.local import stack as local
from infra.local.settings import LocalStack

if TYPE_CHECKING:
    from blocks.environment import Environment

# read before the stack's own replicas take its place in this process's environment
TRITON_STARTED_OTHERWISE = os.environ.get("SLIPWAY_TRITON_REPLICAS")
FREE_PORT_RANGE = range(20_000, 32_000)  # below those the kernel gives to outgoing connections
# asked every second, Prefect's server is busy with that alone for a twentieth of a processor
WORKER_QUERY_S = 3
# CI writes 30 GB of images, and then this file: databases that had to wait for the same disk would answer a minute late
SERVERS_AFTER = os.environ.get("SLIPWAY_SERVERS_AFTER")
SERVERS_AFTER_S = 1500
WORKER = int(os.environ.get("PYTEST_XDIST_WORKER", "gw0").removeprefix("gw"))
WORKERS = int(os.environ.get("PYTEST_XDIST_WORKER_COUNT", "1"))


Measured = Callable[[str], None]


def pytest_addoption(parser: pytest.Parser) -> None:
    text = "use the running stack of this state directory instead of starting one, and leave it running"
    parser.addoption("--rounds", type=int, default=1, help="rounds of the soak test")
    parser.addoption("--full-size", action="store_true", help="benchmarks as large as their limits are meant for")
    parser.addoption("--stack-state", type=Path, default=None, help=text)


# Files of minutes, begun before others of their kind: otherwise one process is left with them at the end.
LONG = (
    "test_model_kinds",
    "test_survey",
    "test_quantization",
    "test_directory_kinds",
    "test_demo",
    "test_traffic",
    "test_faulty_servers",
    "test_killed_release",
    "test_late_release",
    "test_waiting",
    "test_adoption",
    "test_alias_updates",
    "test_approval",
    "test_large_model",  # when the cluster does not write any more
)

# Of tests/infra, where tests start servers without the stack, what starts none.
WITHOUT_SERVERS = (
    "tests/infra/charts/",
    "tests/infra/prediction/",
    "tests/infra/mlflow_deployments/test_decisions.py",
    "tests/infra/command/scripts/test_decisions.py",
    "tests/infra/test_dockerfiles.py",
    "tests/infra/test_images.py",
)


@pytest.hookimpl(trylast=True)  # after others have been deselected
def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Put files without servers first, then long ones; give the test that starts the stack the time that takes.

    Which file a process begins with is known later: the first such test of each may be the one.
    """
    with_stack = [i for i in items if "stack" in getattr(i, "fixturenames", ()) or "[embedded" in i.name]
    with_others = [i for i in items if i.nodeid.startswith("tests/infra/") and not i.nodeid.startswith(WITHOUT_SERVERS)]
    on_servers = {item.path for item in with_stack + with_others}

    def turn(item: pytest.Item) -> tuple[bool, int]:
        return item.path in on_servers, LONG.index(item.path.stem) if item.path.stem in LONG else len(LONG)

    items.sort(key=turn)
    for _, of_file in groupby(with_stack, key=lambda item: item.path):
        first = next(of_file)
        own = first.get_closest_marker("timeout")
        longest = max(900, *(own.args if own else ()), 0) + (SERVERS_AFTER_S if SERVERS_AFTER else 0)
        first.add_marker(pytest.mark.timeout(longest), append=False)


@pytest.fixture
def measured(record_property: Callable[[str, object], None]) -> Measured:
    """Have a figure shown at the end of the session, whichever process the test runs in."""
    return lambda figure: record_property("measured", figure)


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    """Show the figures that tests have measured."""
    properties = [given for report in terminalreporter.getreports("passed") for given in report.user_properties]
    if figures := [figure for name, figure in properties if name == "measured"]:
        terminalreporter.section("measured")
        for figure in figures:
            terminalreporter.write_line(str(figure))


@pytest.fixture(scope="session")
def stack(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[LocalStack]:
    """The running local stack, to which this process's Prefect, MLflow and blocks point."""
    state: Path | None = request.config.getoption("--stack-state")
    with ExitStack() as cleanup:
        if state is not None:
            stack = local.running(state)
        else:
            stack = stack_on_free_ports(tmp_path_factory.mktemp("stack"))
            cleanup.enter_context(_stopped_afterwards(stack))
            _await_disk()
            local.up(stack, lambda line: None)
        cleanup.enter_context(pointed_at(stack))
        _pause_what_acts_by_itself()
        yield stack


def _await_disk() -> None:
    end = time.monotonic() + SERVERS_AFTER_S
    while SERVERS_AFTER and not Path(SERVERS_AFTER).exists() and time.monotonic() < end:
        time.sleep(1)


def _pause_what_acts_by_itself() -> None:
    """Keep schedules and automations from repairing, or releasing, what a test is about."""
    from tests.apparatus.automations import pause_automations, pause_schedules

    pause_automations()
    pause_schedules()


def stack_on_free_ports(state: Path, **settings: object) -> LocalStack:
    """Return the settings of a stack that can run beside any other."""
    fields = [name for name in LocalStack.model_fields if name.endswith("_port")]
    ports = dict(zip(fields, free_ports(len(fields)), strict=True))
    given = {"state": state, "triton_replicas": TRITON_STARTED_OTHERWISE, "worker_query_s": WORKER_QUERY_S, **ports}
    return LocalStack.model_validate(given | settings)


def free_ports(count: int) -> list[int]:
    """Return ports nothing listens on now, and no other process of this session looks at."""
    free: list[int] = []
    ours = FREE_PORT_RANGE[WORKER::WORKERS]
    for port in random.sample(ours, len(ours)):
        with socket.socket() as probe:
            if probe.connect_ex(("127.0.0.1", port)) != 0:
                free.append(port)
        if len(free) == count:
            return free
    raise OSError(f"fewer than {count} free ports in {ours}")


@contextmanager
def _stopped_afterwards(stack: LocalStack) -> Iterator[None]:
    before = signal.signal(signal.SIGTERM, _end_session)
    try:
        yield
    finally:
        local.down(stack)
        signal.signal(signal.SIGTERM, before)
        for data in ("s3", "triton", "prefect"):
            shutil.rmtree(stack.state / data, ignore_errors=True)


def _end_session(*_: object) -> NoReturn:
    pytest.exit("terminated", returncode=143)


@contextmanager
def pointed_at(stack: LocalStack) -> Iterator[None]:
    """Have this process's Prefect, MLflow and blocks be those of a stack."""
    from prefect.context import refresh_global_settings_context
    from prefect.logging.handlers import APILogHandler

    before = dict(os.environ)
    os.environ.update(stack.environment())
    refresh_global_settings_context()
    try:
        yield
    finally:
        APILogHandler().flush()  # while there still is a server to send to
        os.environ.clear()
        os.environ.update(before)
        refresh_global_settings_context()


@pytest.fixture
def model_name(request: pytest.FixtureRequest) -> Iterator[str]:
    """The name of a model of this test's own, which no replica knows any more when the test has ended."""
    # most tests that ask for it release something, some need no server at all
    environment = request.getfixturevalue("environment") if "environment" in request.fixturenames else None
    name = f"test-{uuid.uuid4().hex[:8]}-onnx"
    yield name
    if environment is not None:
        from tests.apparatus.given import withdraw

        withdraw(environment, name)


@pytest.fixture
def use() -> "Iterator[Callable[[Environment], object]]":
    """Have this test's flows work with another environment, from each call on."""
    from blocks.environment import using

    with ExitStack() as uses:
        yield lambda environment: uses.enter_context(using(environment))


@pytest.fixture(scope="session")
def environment(stack: LocalStack) -> "Environment":
    """The registered blocks of the running stack."""
    from blocks.environment import load_environment

    return load_environment()
