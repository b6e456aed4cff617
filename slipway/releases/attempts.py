"""Steps that are all tried, whatever becomes of the others: what keeps one broken system from stopping the rest."""

from collections.abc import Iterator
from contextlib import contextmanager

from blocks.errors import NotRegistered, ReleaseTakenOver, SlipwayError
from blocks.run import warn


class Attempts:
    """Tries one step after the other and gathers their errors; what the registry has forgotten is reported only.

    A lost lock is no error of a step: it ends everything.
    """

    def __init__(self) -> None:
        self.errors: list[SlipwayError] = []

    @contextmanager
    def trying(self) -> Iterator[None]:
        """Run the block as one step."""
        try:
            yield
        except ReleaseTakenOver:
            raise
        except NotRegistered as error:
            warn(f"skipped, since the registry has it no more: {error}")
        except SlipwayError as error:
            warn(f"goes on after an error: {error}")
            self.errors.append(error)

    def raise_first(self) -> None:
        """Raise the first error there was."""
        if self.errors:
            raise self.errors[0]
