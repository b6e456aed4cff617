"""What the servers of the local stack do now, as a table."""

from collections.abc import Mapping
from datetime import timedelta
from pathlib import Path

from rich.table import Column, Table

from infra.local.readiness import answers
from infra.local.settings import LocalStack
from infra.local.supervision import Program, programs


def server_table(stack: LocalStack) -> Table:
    """Return a table with one row per server; the stack runs."""
    now = programs(stack)
    states = {name: _state(stack, now[name]) for name in stack.servers}
    return _table(stack, now, states)


def _state(stack: LocalStack, program: Program) -> str:
    if not program.alive:
        return program.state.lower()
    return "ready" if answers(stack, program.name) else "not answering"


def _table(stack: LocalStack, now: Mapping[str, Program], states: Mapping[str, str]) -> Table:
    log = Column("log", overflow="fold")
    table = Table("server", "state", "address", "pid", "up for", log, box=None, pad_edge=False)
    for name in stack.servers:
        color = "green" if states[name] == "ready" else "red"
        uptime = str(timedelta(seconds=now[name].uptime_s))
        state = f"[{color}]{states[name]}[/]"
        table.add_row(name, state, stack.address(name), str(now[name].pid or "-"), uptime, from_here(stack.log(name)))
    if not stack.starts_triton:
        for address in stack.triton_addresses:
            table.add_row("triton", "started otherwise", address, "-", "-", "-")
    return table


def from_here(path: Path) -> str:
    """Return a path as short as it can be written where the command was given."""
    return str(path.relative_to(Path.cwd()) if path.is_relative_to(Path.cwd()) else path)
