"""Synthetic requests: inputs made up from a model's signature, in sizes and of values that models want."""

import json
import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from enum import Enum
from typing import overload

import numpy as np
from pydantic import TypeAdapter, ValidationError
from tritonclient.utils import triton_to_np_dtype

from blocks.errors import InvalidInput, bounded
from blocks.fleet import Tensors
from blocks.labels import INPUT_SHAPE_TAG
from slipway.formats.signature import Shape, Signature, TensorSpec

# While it is sent a request is in memory about four times, flow pods have 4 GiB, and gRPC ends at 2 GiB.
MAX_REQUEST_BYTES = 512 * 1024**2
HELD_BYTES = 64 * 1024**2
SIZES = (1, 32, 64, 224, 640)  # what dynamic axes are tried with: one, and what strides and windows usually divide
_TEXT_BYTES = 16
_SHAPES = TypeAdapter(dict[str, Shape])
_SHAPE = TypeAdapter(Shape)
_TAG = f"tag {INPUT_SHAPE_TAG}"


class Values(Enum):
    """What made-up inputs hold."""

    NORMAL = "standard normal floats, 0 to 9 for integers"
    POSITIVE = "floats from 0.1 to 1, 0 and 1 for integers"


@dataclass(frozen=True)
class SyntheticRequests(Sequence[Tensors]):
    """Different inputs, each made when it is asked for and the same each time; another seed, other inputs."""

    specs: tuple[TensorSpec, ...]
    shapes: Mapping[str, Shape]
    number: int
    seed: int
    values: Values = Values.NORMAL

    @property
    def request_bytes(self) -> int:
        """Size of one request."""
        return sum(math.prod(self.shapes[spec.name]) * _count_item_bytes(spec) for spec in self.specs)

    @property
    def description(self) -> str:
        """What is asked with, for messages."""
        sizes = ", ".join(f"{spec.name} {list(self.shapes[spec.name])}" for spec in self.specs)
        return f"{sizes} of {self.values.value}"

    def __len__(self) -> int:
        return self.number

    @overload
    def __getitem__(self, index: int) -> Tensors: ...
    @overload
    def __getitem__(self, index: slice) -> Sequence[Tensors]: ...
    def __getitem__(self, index: int | slice) -> Tensors | Sequence[Tensors]:
        if isinstance(index, slice):
            return [self[position] for position in range(*index.indices(self.number))]
        if not 0 <= index < self.number:
            raise IndexError(index)
        random = np.random.default_rng((self.seed, index))
        return {spec.name: _draw(spec, self.shapes[spec.name], self.values, random) for spec in self.specs}


def list_attempts(
    signature: Signature, given: Mapping[str, Shape], count: int, *, seed: int, subject: str
) -> Iterator[SyntheticRequests]:
    """Yield the requests to try one after the other, until a model answers: of several sizes, each of two kinds.

    What is given is not varied. Raises `InvalidInput` where a single request of the first is larger than one may be;
    larger ones are left out afterwards.
    """
    is_open = any(isinstance(axis, str) for spec in signature.inputs for axis in _list_free(spec, given))
    first = True
    for size in SIZES if is_open else SIZES[:1]:
        shapes = {spec.name: given.get(spec.name) or _fill(spec, size) for spec in signature.inputs}
        for values in Values:
            requests = SyntheticRequests(signature.inputs, shapes, count, seed, values)
            if requests.request_bytes > MAX_REQUEST_BYTES:
                if first:
                    raise InvalidInput(_describe_size(requests, subject))
                return
            first = False
            yield requests


def make_requests(
    signature: Signature, given: Mapping[str, Shape], count: int, *, seed: int, subject: str
) -> SyntheticRequests:
    """Return `count` inputs, dynamic axes of size 1 where no shape is given: the first of `list_attempts`."""
    return next(list_attempts(signature, given, count, seed=seed, subject=subject))


def read_given_shapes(
    signature: Signature,
    tags: Mapping[str, str],
    shape: Shape | None,
    shapes: Mapping[str, Shape],
    subject: str,
) -> dict[str, Shape]:
    """Return the shapes to ask with, by input: those of the release, else of its single input, else of the tag.

    Raises `InvalidInput` where one is not of the model, or the tag cannot be read.
    """
    given = _read_shapes(signature, tags[INPUT_SHAPE_TAG], subject, _TAG) if INPUT_SHAPE_TAG in tags else {}
    if shape is not None and len(signature.inputs) == 1:
        given[signature.inputs[0].name] = shape
    given |= shapes
    _check_shapes(signature, given, subject, f"input_shapes, expected_input_shape or the {_TAG}")
    return given


def parse_shapes(signature: Signature, text: str, subject: str, called: str) -> dict[str, Shape]:
    """Return the shapes by input that a text says: `1,3,640,640` of the single input, or JSON by input.

    Raises `InvalidInput`, with what the text is called, where it cannot be read or is not of the model.
    """
    given = _read_shapes(signature, text, subject, called)
    _check_shapes(signature, given, subject, called)
    return given


def _check_shapes(signature: Signature, given: Mapping[str, Shape], subject: str, called: str) -> None:
    specs = {spec.name: spec for spec in signature.inputs}
    for name, size in given.items():
        if name not in specs or not specs[name].accepts(tuple(size)):
            takes = ", ".join(f"{spec.name} {list(spec.shape)}" for spec in signature.inputs)
            raise InvalidInput(
                f"{subject}: input is {takes}, expected to be asked with {name} {list(size)}; correct {called}"
            )


def _read_shapes(signature: Signature, text: str, subject: str, called: str) -> dict[str, Shape]:
    """Return the shapes a text gives: sizes of the single input, with commas between or as JSON, or JSON by input."""
    try:
        content = json.loads(text if text.strip()[:1] in {"[", "{"} else f"[{text}]")
        if isinstance(content, dict):
            return _SHAPES.validate_python(content)
        if len(signature.inputs) == 1:
            return {signature.inputs[0].name: _SHAPE.validate_python(content)}
    except (ValueError, ValidationError):
        pass
    names = ", ".join(spec.name for spec in signature.inputs)
    raise InvalidInput(
        f"{subject}: {called} is {bounded(repr(text), 200)}, expected sizes such as 1,3,640,640 where "
        f'there is one input, or JSON such as {{"{signature.inputs[0].name}": [1, 3, 640, 640]}} of {names}; set it '
        "again"
    )


def _list_free(spec: TensorSpec, given: Mapping[str, Shape]) -> tuple[int | str, ...]:
    """Return the axes of which the size is to be found: none where the shape is given, no batch axis."""
    return () if spec.name in given else spec.shape[1:] if spec.is_open else spec.shape


def _fill(spec: TensorSpec, size: int) -> Shape:
    """Return a shape with this size for each dynamic axis; a first one, which may be a batch, gets 1."""
    rest = tuple(size if isinstance(axis, str) else axis for axis in spec.shape[1:])
    return (1 if spec.is_open else int(spec.shape[0]), *rest) if spec.shape else ()


def _describe_size(requests: SyntheticRequests, subject: str) -> str:
    sizes = ", ".join(f"{spec.name} {spec.dtype} {list(requests.shapes[spec.name])}" for spec in requests.specs)
    return (
        f"{subject}: one request ({sizes}) has {requests.request_bytes / 1024**2:.0f} MiB, "
        f"{MAX_REQUEST_BYTES // 1024**2} MiB are allowed; give a smaller expected_input_shape, or export the model "
        "with dynamic axes"
    )


def _count_item_bytes(spec: TensorSpec) -> int:
    dtype = np.dtype(triton_to_np_dtype(spec.dtype))
    return _TEXT_BYTES if dtype.kind == "O" else dtype.itemsize


def _draw(spec: TensorSpec, size: Shape, values: Values, random: np.random.Generator) -> np.ndarray:
    dtype = np.dtype(triton_to_np_dtype(spec.dtype))
    if dtype.kind == "f":
        wide = np.float64 if dtype == np.float64 else np.float32
        if values is Values.POSITIVE:
            return np.asarray(random.uniform(0.1, 1.0, size), dtype=dtype)
        return np.asarray(random.standard_normal(size, dtype=wide), dtype=dtype)
    if dtype.kind == "O":
        texts = np.empty(math.prod(size), np.object_)
        texts[:] = [f"synthetic {number}".encode() for number in random.integers(0, 1000, math.prod(size))]
        return texts.reshape(size)
    above = 2 if dtype.kind == "b" or values is Values.POSITIVE else 10
    return np.asarray(random.integers(0, above, size, dtype=dtype.type))
