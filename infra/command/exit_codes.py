"""How the command `slipway` ends, whichever of its commands it was."""

from enum import IntEnum


class ExitCode(IntEnum):
    """What a shell, make, CI and Kubernetes are told."""

    DONE = 0
    FAILED = 1
    """It went wrong, in one line; or `reconcile` left something that is other than it ought to be."""
    BAD_INPUT = 2
    """What was given cannot be used: an option, a parameter, a variable SLIPWAY_…."""
    REFUSED = 3
    """A gate said no, of a step that was called with --exit-code."""
    INTERRUPTED = 130
    TERMINATED = 143
