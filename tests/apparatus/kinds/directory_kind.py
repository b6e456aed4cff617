"""A kind of Triton directory: how one is written, what it calls, what it is asked, and what is right, in numpy."""

import zlib
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

import numpy as np

from tests.apparatus.kinds.kind import Asking, Exchange, Tensors


class Part(NamedTuple):
    """A model directory: its configuration and its other files by their paths, both of a seed.

    In the text, and in its name, `MODEL` stands for the name that the whole model has, `SEED` for the seed.
    """

    name: str
    config: Callable[[int], str]
    files: Callable[[int], dict[str, str | bytes]]

    def write(self, directory: Path, model_name: str, seed: int) -> Path:
        """Write the directory; returns it."""
        texts = {"config.pbtxt": self.config(seed), **self.files(seed)}
        for name, content in texts.items():
            path = directory / name
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_bytes(_fill(content, model_name, seed).encode() if isinstance(content, str) else content)
        return directory

    def named(self, model_name: str, seed: int) -> str:
        """Return the name that the part is published under."""
        return _fill(self.name, model_name, seed)


@dataclass(frozen=True)
class DirectoryKind:
    """A kind of Triton directory with all that is known of it."""

    name: str
    parts: tuple[Part, ...]  # in the order of their release; the last one is asked
    ask: Asking
    compute: Callable[[int, Tensors], Tensors]  # of a seed and one request
    is_batched: bool = True
    tolerance: float = 1e-5
    may_stay: bool = True  # whether the version before can be served beside the next one

    def requests(self, seed: int, count: int) -> list[Exchange]:
        """Return different requests with the answers that are right, the same ones at every call."""
        of_name = zlib.crc32(self.name.encode())
        asked = [self.ask(np.random.default_rng([of_name, number])) for number in range(count)]
        return [Exchange(inputs, self.compute(seed, inputs)) for inputs in asked]


def _fill(text: str, model_name: str, seed: int) -> str:
    return text.replace("MODEL", model_name).replace("SEED", str(seed))
