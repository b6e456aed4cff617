"""The one error of the commands that speak to a cluster; its message is the line the user reads."""

from blocks.errors import SlipwayError


class ClusterError(SlipwayError):
    """Raised when a chart, a release or a replica is not what was asked for, with what to do about it."""
