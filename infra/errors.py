"""The errors of what runs the flows, leaves of the tree in `blocks/errors.py`; each message is the line people read.

SlipwayError
├── StackError    the local stack cannot start, stop or answer
├── ImageError    an image cannot be built, stored or pushed
├── ClusterError  a chart, a release or a replica on a cluster is not what was asked for
└── LoadTestError a load test could not run, or requests of it failed
"""

from blocks.errors import SlipwayError


class StackError(SlipwayError):
    """Raised when the local stack cannot start, stop or answer; nothing half-started is left behind."""


class ImageError(SlipwayError):
    """Raised when an image cannot be built, stored or pushed, naming what is missing."""


class ClusterError(SlipwayError):
    """Raised when a chart, a release or a replica is not what was asked for, with what to do about it."""


class LoadTestError(SlipwayError):
    """Raised when a load test could not run or be marked, or requests of it failed."""
