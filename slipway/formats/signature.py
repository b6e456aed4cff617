"""What a model takes and gives, whatever format it has: its tensors, in Triton's data types."""

from typing import Annotated

from pydantic import BaseModel, ConfigDict, Field

Shape = tuple[Annotated[int, Field(ge=1)], ...]


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


class Signature(BaseModel):
    """What a model takes and gives."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    inputs: tuple[TensorSpec, ...]
    outputs: tuple[TensorSpec, ...]
    opset: int
    producer: str = ""

    @property
    def batched(self) -> bool:
        """Whether the first axis of every tensor is dynamic, so that Triton may batch requests."""
        tensors = (*self.inputs, *self.outputs)
        return all(tensor.shape and isinstance(tensor.shape[0], str) for tensor in tensors)
