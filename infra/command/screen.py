"""What commands print. Other people's text is among it, names, reasons and logs: none of it is read as markup."""

import os
import sys

from rich.console import Console
from rich.table import Table

console = Console(highlight=False, markup=False, emoji=False, soft_wrap=True)
errors = Console(stderr=True, highlight=False, markup=False, emoji=False, soft_wrap=True, style="red")
_COLUMNS_OF_A_FILE = 200


def show_table(table: Table) -> None:
    """Print a table as wide as the terminal is; what is too long for its column goes on below."""
    knows_its_width = sys.stdout.isatty() or "COLUMNS" in os.environ
    width = None if knows_its_width else _COLUMNS_OF_A_FILE
    Console(highlight=False, markup=False, emoji=False, width=width).print(table)
