"""Brings the whole local stack up and down."""

from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor

from infra.local import preflight, provision, readiness, supervision
from infra.local.settings import LocalStack

Report = Callable[[str], None]


def up(stack: LocalStack, report: Report) -> None:
    """Start what is not running, wait until all answers, and provide what the flows expect.

    After a failure nothing of a stack that was not running before is left; the StackError says what and where.
    """
    running = supervision.is_up(stack)
    try:
        _repair(stack, report) if running else _start(stack, report)
    except BaseException:
        if not running:
            supervision.stop(stack)
        raise


def _start(stack: LocalStack, report: Report) -> None:
    preflight.check_ports(stack.endpoints, stack.host)
    python = preflight.triton_python() if stack.starts_triton else None
    supervision.start_supervisor(stack, python)
    _bring_up(stack, report)


def _repair(stack: LocalStack, report: Report) -> None:
    report(f"already up, state in {stack.state}")
    programs = supervision.programs(stack)
    if any(not programs[name].alive for name in stack.servers):
        _bring_up(stack, report)


def _bring_up(stack: LocalStack, report: Report) -> None:
    for name in ("s3", "mlflow", "prefect"):
        supervision.start_program(stack, name)
    readiness.await_ready(stack, ["s3"], report)
    provision.create_buckets(stack)
    for name in stack.triton_names:
        supervision.start_program(stack, name)
    readiness.await_ready(stack, ["prefect", "mlflow", *stack.triton_names], report)
    provision.create_work_pool(stack)
    supervision.start_program(stack, "worker")
    with ThreadPoolExecutor() as executor:
        steps = [executor.submit(step, stack) for step in (provision.register_blocks, provision.deploy_flows)]
        for step in steps:
            step.result()
    readiness.await_ready(stack, ["worker"], report)


def down(stack: LocalStack) -> bool:
    """Stop every process of the stack and keep its state; return whether anything ran."""
    return supervision.stop(stack)
