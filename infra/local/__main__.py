"""The commands behind `make up`, `make down`, `make status` and `make logs`."""

import sys
import time

from cyclopts import App
from rich.console import Console

from infra.local import stack as local
from infra.local.errors import StackError

app = App(name="python -m infra.local", help="The local stack: real servers on this machine.")
console = Console(highlight=False, soft_wrap=True)


@app.command
def up() -> None:
    """Start the servers and wait until all of them answer."""
    start = time.monotonic()
    local.up(local.current(), lambda line: console.print(f"  {line}"))
    console.print(f"the local stack is up ({time.monotonic() - start:.1f} s)")


@app.command
def down() -> None:
    """Stop every server; the state stays."""
    console.print("the local stack is down" if local.down(local.current()) else "the local stack was not running")


def main() -> None:
    """Run a command; an error is one line and status 1."""
    try:
        app()
    except StackError as exc:
        Console(stderr=True, highlight=False, soft_wrap=True).print(str(exc), markup=False, style="red")
        sys.exit(1)


if __name__ == "__main__":
    main()
