"""The one error of building and pushing images; its message is the line the user reads."""

from blocks.errors import SlipwayError


class ImageError(SlipwayError):
    """Raised when an image cannot be built, stored or pushed, naming what is missing."""
