"""Imports as large as those of MLflow and Prefect, without the garbage collector, which would run hundreds of times.

What they made stays until the process ends, so the collector need not look at it again, and not when it ends either:
that took a second of each command and of each flow run.
"""

import atexit
import gc
import sys
from collections.abc import Iterator
from contextlib import contextmanager

atexit.register(gc.freeze)


@contextmanager
def keep_what_is_made() -> Iterator[None]:
    """Collect no garbage while the block runs: an import makes hardly any, and looking takes a fifth of its time."""
    was_enabled, known = gc.isenabled(), len(sys.modules)
    gc.disable()
    try:
        yield
    finally:
        if len(sys.modules) > known:
            gc.freeze()
        if was_enabled:
            gc.enable()
