"""What a model takes and gives, whatever format it has: its tensors, in Triton's data types."""

from typing import Annotated

from pydantic import BaseModel, ConfigDict, Field

Shape = tuple[Annotated[int, Field(ge=1)], ...]
UNNAMED_BATCH = "axis_0"  # a dynamic first axis that the model gives no name


class TensorSpec(BaseModel):
    """A model's input or output."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    name: str
    dtype: str = Field(description="Triton's data type, say FP32.")
    shape: tuple[int | str, ...] = Field(description="One entry an axis; a name where the axis is dynamic.")

    def accepts(self, shape: tuple[int, ...]) -> bool:
        """Tell whether a concrete shape fits, dynamic axes taking any size."""
        fits = (isinstance(axis, str) or axis == size for axis, size in zip(self.shape, shape, strict=False))
        return len(shape) == len(self.shape) and all(fits)

    @property
    def is_open(self) -> bool:
        """Whether the first axis is dynamic."""
        return bool(self.shape) and isinstance(self.shape[0], str)


class Signature(BaseModel):
    """What a model takes and gives."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    inputs: tuple[TensorSpec, ...]
    outputs: tuple[TensorSpec, ...]
    opset: int = 0
    producer: str = ""

    @property
    def may_batch(self) -> bool:
        """Whether a batch axis is possible; whether it is one, only joined requests can prove.

        The first axis of every tensor is dynamic, the inputs have one name for it, as far as they name it, and no other
        axis has that name.
        """
        tensors = (*self.inputs, *self.outputs)
        if not self.inputs or not all(tensor.is_open for tensor in tensors):
            return False
        names = {tensor.shape[0] for tensor in self.inputs} - {UNNAMED_BATCH}
        elsewhere = {axis for tensor in tensors for axis in tensor.shape[1:]}
        return len(names) <= 1 and not names & elsewhere
