"""Imports as large as those of MLflow and Prefect, without the garbage collector, which would run hundreds of times."""

import gc
from collections.abc import Iterator
from contextlib import contextmanager


@contextmanager
def keep_what_is_made() -> Iterator[None]:
    """Collect no garbage while the block runs: an import makes hardly any, and looking takes a fifth of its time."""
    was_enabled = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        if was_enabled:
            gc.enable()
