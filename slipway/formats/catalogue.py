"""The formats slipway can release; what a registered model's MLmodel lists says which one it has."""

from pathlib import Path

from blocks.errors import UnusableModel
from blocks.labels import DESCRIPTION_FILE
from slipway.formats.contents import Contents, Format
from slipway.formats.mlmodel import list_names
from slipway.formats.onnx import BareOnnx, Onnx
from slipway.formats.triton_directory import TritonDirectory

FORMATS: tuple[Format, ...] = (TritonDirectory(), Onnx(), BareOnnx())


def arrange_model(directory: Path, subject: str) -> None:
    """Give a downloaded model's files the names Triton expects; `UnusableModel` where no format is theirs."""
    _choose(directory, subject).arrange(directory, subject)


def open_model(directory: Path, subject: str) -> Contents:
    """Check an arranged model's files and say what they hold; `UnusableModel` says what is wrong with them."""
    return _choose(directory, subject).open(directory, subject)


def _choose(directory: Path, subject: str) -> Format:
    for known in FORMATS:
        if known.matches(directory):
            return known
    raise UnusableModel(
        f"{subject}: its files are not those of a model that can be served ({list_names(directory)}); expected an "
        f"{DESCRIPTION_FILE} that lists the flavor onnx or triton, or one ONNX file: register it with `slipway publish`"
    )
