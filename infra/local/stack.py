"""Brings the whole local stack up and down."""

import fcntl
import signal
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

from infra.errors import StackError
from infra.local import preflight, provision, store, supervision
from infra.local.readiness import Watch, answers
from infra.local.settings import LocalStack

Report = Callable[[str], None]


def find_current() -> LocalStack:
    """Return the stack of the state directory: with the addresses it runs on, else with the configured ones."""
    configured = LocalStack()
    try:
        return running(configured.state)
    except StackError:
        return configured


def running(state: Path) -> LocalStack:
    """Return the stack that runs in a state directory; a StackError says that none does."""
    stack = LocalStack(state=state)
    if not (_locate_settings(stack).exists() and supervision.is_up(stack)):
        raise StackError(f"no local stack runs in {state}; start it with make up")
    return LocalStack.model_validate_json(_locate_settings(stack).read_text())


def up(stack: LocalStack, report: Report) -> None:
    """Start what is not running, wait until all answers, and provide what the flows expect.

    After a failure nothing of a stack that was not running before is left; the StackError says what and where.
    """
    with hold_alone(stack):
        if supervision.is_up(stack):
            _require_same_mode(stack)
            _repair(stack, report)
            return
        store.check_data(stack)
        preflight.check_ports(stack.endpoints, stack.host)
        if stack.starts_triton:
            python = preflight.prepare_triton_python()
        else:
            python = None
            preflight.check_replicas(stack)
        if stack.triton_mode == "poll":
            Path(stack.triton_repository).mkdir(parents=True, exist_ok=True)
        try:
            supervision.start_supervisor(stack, python)
            _locate_settings(stack).write_text(stack.model_dump_json())
            _bring_up(stack, report)
        except BaseException:
            down(stack)
            raise


def _require_same_mode(stack: LocalStack) -> None:
    found, wanted = running(stack.state).triton_mode, LocalStack().triton_mode
    if found != wanted:
        raise StackError(f"the Tritons of {stack.state} run in mode {found}, not {wanted}; make down first")


def _locate_settings(stack: LocalStack) -> Path:
    return stack.state / "running.json"


@contextmanager
def hold_alone(stack: LocalStack) -> Iterator[None]:
    """Keep others from starting or stopping the same stack, and from looking into its state."""
    stack.state.mkdir(mode=0o700, parents=True, exist_ok=True)
    stack.state.chmod(0o700)
    with (stack.state / "up.lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        yield


def _repair(stack: LocalStack, report: Report) -> None:
    report(f"already up, state in {stack.state}")
    programs = supervision.list_programs(stack)
    silent = [name for name in stack.servers if not (programs[name].alive and answers(stack, name))]
    if silent:
        report(f"repairing {', '.join(silent)}")
        for name in silent:
            if programs[name].alive:
                supervision.stop_program(stack, name)
        _bring_up(stack, report, with_flows="prefect" in silent)


def _bring_up(stack: LocalStack, report: Report, *, with_flows: bool = True) -> None:
    watch = Watch(stack, report)
    watch.start(["s3", "mlflow", "prefect"])
    watch.await_ready(["s3"])
    provision.create_buckets(stack)
    watch.start(stack.triton_names)
    watch.await_ready([*stack.triton_names, "prefect"])
    provision.create_work_pool(stack)
    watch.start(["worker", "events"])
    commands = provision.start_commands(stack) if with_flows else []
    watch.await_ready(["mlflow", "worker", "events"])
    for command in commands:
        provision.finish_command(stack, command)
    if commands:
        provision.remember(stack)


def down(stack: LocalStack) -> bool:
    """Stop every process of the stack and keep its state; return whether anything ran."""
    with _ignore_interruptions():
        return supervision.stop(stack)


@contextmanager
def _ignore_interruptions() -> Iterator[None]:
    """Keep a second, impatient Ctrl-C from leaving servers behind."""
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    before = {number: signal.signal(number, signal.SIG_IGN) for number in (signal.SIGINT, signal.SIGTERM)}
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
