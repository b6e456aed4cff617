"""The commands behind `make up`, `make down`, `make status`, `make logs` and `make demo`."""

import signal
import subprocess
import sys
import time
from typing import NoReturn

from botocore.exceptions import BotoCoreError, ClientError
from cyclopts import App
from httpx import HTTPError
from pydantic import ValidationError
from rich.console import Console

from infra.errors import StackError
from infra.local import environment_file, status
from infra.local import stack as local
from infra.local.environments import setup_environment
from infra.local.settings import LocalStack

app = App(name="python -m infra.local", help="The local stack: real servers on this machine.")
console = Console(highlight=False, soft_wrap=True)


@app.command
def up() -> LocalStack:
    """Start the servers and wait until all of them answer."""
    start = time.monotonic()
    stack = local.current()
    console.print(f"starting the local stack, state in {stack.state}")
    local.up(stack, lambda line: console.print(f"  {line}"))
    if not environment_file.write(stack):
        variables = f"PREFECT_API_URL={stack.prefect_api_url} PREFECT_API_AUTH_STRING=$(cat {stack.auth_file})"
        console.print(f"  .env is not ours and stays as it is; export {variables}")
    console.print(f"up in {time.monotonic() - start:.0f} s: Prefect {stack.prefect_url}, MLflow {stack.mlflow_url}")
    console.print(f"Prefect's pages ask for a password: it is the text in {status.from_here(stack.auth_file)}")
    return stack


@app.command
def down() -> None:
    """Stop every server; the state stays."""
    stack = local.current()
    environment_file.remove(stack)
    console.print("the local stack is down" if local.down(stack) else "the local stack was not running")


@app.command
def demo() -> int:
    """Start the servers, run the training deployment on them and show what is live."""
    stack = up()
    # Prefect reads its settings when it is imported: a process of its own has the stack's from the start.
    variables = setup_environment(stack)
    return subprocess.run([sys.executable, "-m", "infra.local.demo"], env=variables, check=False).returncode


@app.command(name="status")
def show_status() -> None:
    """Show each server's state, address, process and log."""
    console.print(status.server_table(local.running(LocalStack().state)))


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
    stack = local.current()
    known = sorted(path.stem for path in (stack.state / "logs").glob("*.log"))
    if server is not None and server not in known:
        raise StackError(f"no log of a server {server!r}; there are {', '.join(known) or 'none yet'}")
    paths = [stack.log(name) for name in ([server] if server else known)]
    if paths:
        options = [f"--lines={lines}", *(["--follow=name"] if follow else [])]
        subprocess.run(["tail", *options, *paths], check=False)  # noqa: S603, S607


def main() -> None:
    """Run a command; an error is one line and status 1."""
    signal.signal(signal.SIGTERM, _terminated)
    try:
        status_code = app(result_action="return_value")
    except (StackError, ValidationError, OSError, HTTPError, BotoCoreError, ClientError) as exc:
        Console(stderr=True, highlight=False, soft_wrap=True).print(f"error: {_line(exc)}", markup=False, style="red")
        sys.exit(1)
    except KeyboardInterrupt:
        sys.exit(130)
    sys.exit(status_code if isinstance(status_code, int) else 0)


def _terminated(*_: object) -> NoReturn:
    sys.exit(143)


def _line(exc: Exception) -> str:
    if not isinstance(exc, ValidationError):
        return str(exc)
    first = exc.errors()[0]
    return f"SLIPWAY_{'_'.join(map(str, first['loc'])).upper()}: {first['msg']}"


if __name__ == "__main__":
    main()
