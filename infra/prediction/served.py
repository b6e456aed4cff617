"""What a Triton server says of a model: its name, the version that answers, the tensors it takes and gives."""

from typing import NamedTuple

import numpy as np

from blocks.errors import InvalidInput

FREE = -1
Arrays = dict[str, np.ndarray]


class Tensor(NamedTuple):
    """A tensor as clients send or get it: KServe's datatype, axes of any size as -1."""

    name: str
    datatype: str
    shape: tuple[int, ...]

    def accepts(self, shape: tuple[int, ...]) -> bool:
        """Tell whether an array of a shape can be sent as this tensor."""
        return len(shape) == len(self.shape) and all(
            free in (FREE, size) for free, size in zip(self.shape, shape, strict=True)
        )


class Served(NamedTuple):
    """A model as one server serves it."""

    name: str
    version: str  # of the one that was asked for, nothing: the server chooses
    inputs: tuple[Tensor, ...]
    outputs: tuple[Tensor, ...]

    def check(self, inputs: Arrays) -> None:
        """Raise `InvalidInput` where arrays are not what the model takes; those with a default may be left out."""
        by_name = {tensor.name: tensor for tensor in self.inputs}
        if not inputs or (unknown := sorted(inputs.keys() - by_name.keys())):
            raise InvalidInput(
                f"model '{self.name}': got {unknown if inputs else 'no inputs'}, expected inputs of {sorted(by_name)}"
            )
        for name, array in inputs.items():
            if not by_name[name].accepts(array.shape):
                raise InvalidInput(
                    f"model '{self.name}': input '{name}' is {list(array.shape)}, expected "
                    f"{list(by_name[name].shape)}, -1 being any size"
                )


class Answer(NamedTuple):
    """What a model answered, the version that did, and how long it took."""

    outputs: Arrays
    version: str
    elapsed_ms: float
