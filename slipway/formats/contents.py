"""What a registered model's files hold, whatever its format: what Triton is given of them, and what is known of it."""

from pathlib import Path
from typing import Protocol

from pydantic import BaseModel, ConfigDict, Field

from slipway.formats.signature import Signature


class Contents(BaseModel):
    """A model as a format found it in a directory."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    backend: str = Field(description="The Triton backend that serves it.")
    model_file: str = Field(description="The file the backend opens, by its path below the version's directory.")
    files: tuple[str, ...] = Field(description="All files of the version, by their paths below its directory.")
    signature: Signature
    precision: str = Field(default="FP32", description="What most of its weights are in: FP32, FP16, BF16 or FP64.")
    config: str | None = Field(default=None, description="The author's config.pbtxt, None where there is none.")
    depends_on: tuple[str, ...] = Field(default=(), description="The models that it calls, by name.")
    facts: dict[str, str | int] = Field(default={}, description="What else is known of it, for metadata.json.")


class Format(Protocol):
    """One way a model can be registered."""

    flavor: str
    """MLflow's name for it, as MLmodel lists it; of a format without an MLmodel, our own."""

    def matches(self, directory: Path) -> bool:
        """Tell whether a directory, arranged or not, is of this format, by what MLmodel lists."""

    def arrange(self, directory: Path, subject: str) -> None:
        """Give the downloaded files the names Triton expects; `UnusableModel` where they are not of this format."""

    def open(self, directory: Path, subject: str) -> Contents:
        """Check arranged files and say what they hold; `UnusableModel` says what is wrong with them."""


def is_plain_file(path: Path) -> bool:
    """Tell whether a path, which may be any text, names a file that is no link."""
    try:
        return path.is_file() and not path.is_symlink()
    except (OSError, ValueError):  # longer than names may be, or with a zero byte
        return False
