"""What the servers of the local stack do now, as a table."""

from datetime import timedelta
from pathlib import Path

from rich.table import Column, Table
from rich.text import Text

from infra.local.readiness import answers
from infra.local.settings import LocalStack
from infra.local.supervision import Program, list_programs

READY = "ready"


def make_server_table(stack: LocalStack) -> Table:
    """Return a table with one row per server; the stack runs."""
    log = Column("log", overflow="fold")
    table = Table("server", "state", "address", "pid", "up for", log, box=None, pad_edge=False)
    now = list_programs(stack)
    for name in stack.servers:
        program, state = now[name], find_state(stack, now[name])
        shown, uptime = Text(state, "green" if state == READY else "red"), timedelta(seconds=program.uptime_s)
        table.add_row(name, shown, stack.address(name), str(program.pid or "-"), str(uptime), shorten(stack.log(name)))
    if not stack.starts_triton:
        for address in stack.triton_addresses:
            table.add_row("triton", "started otherwise", address, "-", "-", "-")
    return table


def find_state(stack: LocalStack, program: Program) -> str:
    """Return whether a server is ready, or what it is instead."""
    if not program.alive:
        return program.state.lower()
    return READY if answers(stack, program.name) else "not answering"


def shorten(path: Path) -> str:
    """Return a path as short as it can be written where the command was given."""
    return str(path.relative_to(Path.cwd()) if path.is_relative_to(Path.cwd()) else path)
