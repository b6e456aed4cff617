"""`slipway stack`: the local stack up, down, looked at and shown at work."""

import os
import subprocess
import time

from cyclopts import App

from infra.command.screen import console, show_table
from infra.errors import StackError
from infra.local import environment_file, status
from infra.local import stack as local
from infra.local.environments import make_setup_environment
from infra.local.settings import LocalStack

app = App(name="stack", help="The local stack: real servers on this machine.")


@app.command
def up() -> LocalStack:
    """Start the servers and wait until all of them answer."""
    start = time.monotonic()
    stack = local.find_current()
    console.print(f"starting the local stack, state in {stack.state}")
    local.up(stack, lambda line: console.print(f"  {line}"))
    if not environment_file.write(stack):
        variables = f"PREFECT_API_URL={stack.prefect_api_url} PREFECT_API_AUTH_STRING=$(cat {stack.auth_file})"
        console.print(f"  .env points Prefect elsewhere and stays as it is; export {variables}")
    console.print(f"up in {time.monotonic() - start:.0f} s: Prefect {stack.prefect_url}, MLflow {stack.mlflow_url}")
    console.print(f"Prefect's pages ask for a password: it is the text in {status.shorten(stack.auth_file)}")
    return stack


@app.command
def down() -> None:
    """Stop every server; the state stays."""
    stack = local.find_current()
    environment_file.remove(stack)
    console.print("the local stack is down" if local.down(stack) else "the local stack was not running")


@app.command
def demo() -> None:
    """Start the servers, run the training deployment on them and show what is live."""
    stack = up()
    variables = make_setup_environment(stack)
    os.environ.clear()
    os.environ.update(variables)  # before Prefect is imported, which takes its settings from here
    from infra.command.demo import show_demo

    show_demo(stack)


@app.command(name="status")
def show_servers() -> None:
    """Show each server's state, address, process and log."""
    show_table(status.make_server_table(local.running(LocalStack().state)))


@app.command
def logs(server: str | None = None, *, lines: int = 20, follow: bool = False) -> None:
    """Show the last lines of one server's log, or of all.

    Parameters
    ----------
    server
        Name of the server; all by default.
    lines
        Number of lines of each.
    follow
        Go on showing lines as they come.
    """
    stack = local.find_current()
    known = sorted(path.stem for path in (stack.state / "logs").glob("*.log"))
    if server is not None and server not in known:
        raise StackError(f"no log of a server {server!r}; there are {', '.join(known) or 'none yet'}")
    paths = [stack.log(name) for name in ([server] if server else known)]
    if paths:
        options = [f"--lines={lines}", *(["--follow=name", f"--pid={os.getpid()}"] if follow else [])]
        subprocess.run(["tail", *options, *paths], check=False)  # noqa: S603, S607
