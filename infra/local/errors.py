"""The one error the local stack raises; its message is the line the user reads."""

from blocks.errors import SlipwayError


class StackError(SlipwayError):
    """Raised when the local stack cannot start, stop or answer; nothing half-started is left behind."""
