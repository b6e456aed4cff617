"""The formats slipway can release; a registered model's MLmodel says which one it has."""

from pathlib import Path

from slipway.formats.contents import Contents, Format
from slipway.formats.onnx import Onnx

FORMATS: tuple[Format, ...] = (Onnx(),)


def arrange_model(directory: Path, subject: str) -> None:
    """Give a downloaded model's files the names Triton expects; `UnusableModel` where no format is theirs."""
    _choose().arrange(directory, subject)


def open_model(directory: Path, subject: str) -> Contents:
    """Check an arranged model's files and say what they hold; `UnusableModel` says what is wrong with them."""
    return _choose().open(directory, subject)


def _choose() -> Format:
    (only,) = FORMATS  # with a second one, the flavors in MLmodel decide
    return only
