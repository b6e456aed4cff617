"""Samples: requests whose answers are known, as they are kept, cut up and asked for."""

import json
import re
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from enum import Enum
from io import BytesIO
from itertools import islice
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from blocks.errors import UnusableModel
from blocks.fleet import Tensors
from slipway.formats.signature import Signature, TensorSpec
from slipway.releases.sample_archive import read_arrays

PROOF_BYTES = 2 * 1024**2
REQUEST_BYTES = 32 * 1024**2
PROOF_SAMPLES = 8
BATCH = 8
_KINDS = ("input", "output", "onnxruntime")
_EXCHANGE = re.compile(r"(?P<number>[0-9]+)/(?P<kind>input|output)/(?P<name>.+)", re.DOTALL)
_TERMS = "terms"
_COUNTS = "samples"


class Exchange(NamedTuple):
    """One request, and the answer that is known to be right; the shapes are the model's own."""

    inputs: Tensors
    outputs: Tensors
    onnxruntime: Tensors = {}  # noqa: RUF012  # what ONNX Runtime gave in gate 2, where it was recorded
    samples: int = 1


class Layout(Enum):
    """What the first axis of golden samples counts."""

    ROWS = "rows of one batch: it is an axis of the model"
    REQUESTS = "whole requests: it is none of the model's axes"


@dataclass(frozen=True)
class Samples:
    """Golden samples: inputs with the outputs a model gives for them; the first axis of every tensor counts them."""

    inputs: Tensors
    outputs: Tensors
    onnxruntime: Tensors = field(default_factory=dict)  # what ONNX Runtime gave in gate 2, where it was recorded

    @property
    def count(self) -> int:
        """Number of samples."""
        return len(next(iter(self.inputs.values())))

    @property
    def sample_bytes(self) -> float:
        """Size of one sample, its inputs and its outputs."""
        return count_bytes(self.inputs, self.outputs) / self.count

    def find_layout(self, signature: Signature) -> Layout | None:
        """Return what the first axis counts, None where the shapes fit neither way."""
        inputs = {spec.name: spec for spec in signature.inputs}
        outputs = {spec.name: spec for spec in signature.outputs}
        pairs = [(inputs[name], array) for name, array in self.inputs.items()]
        pairs += [(outputs[name], array) for name, array in (*self.outputs.items(), *self.onnxruntime.items())]
        if all(_fits_rows(spec, array) for spec, array in pairs):
            return Layout.ROWS
        return Layout.REQUESTS if all(spec.accepts(array.shape[1:]) for spec, array in pairs) else None

    def list_exchanges(self, signature: Signature, batched: bool, size: int = BATCH) -> Iterator[Exchange]:
        """Yield the samples as requests with their answers, each of them small.

        Rows of a model that takes batches come up to `size` at once; those of one that takes a row at a time come one
        by one; those of a dynamic first axis that is no batch axis belong together. Whole requests come one by one.
        """
        if self.find_layout(signature) is Layout.REQUESTS:
            yield from (self._cut(number) for number in range(self.count))
        elif not batched and any(spec.is_open for spec in signature.inputs):
            yield self._cut(slice(None))
        else:
            size = max(1, min(size, int(REQUEST_BYTES / max(1.0, self.sample_bytes)))) if batched else 1
            yield from (self._cut(slice(start, start + size)) for start in range(0, self.count, size))

    def _cut(self, part: int | slice) -> Exchange:
        groups = (self.inputs, self.outputs, self.onnxruntime)
        inputs, outputs, onnxruntime = (
            {name: np.asarray(array[part]) for name, array in group.items()} for group in groups
        )
        samples = len(range(self.count)[part]) if isinstance(part, slice) else 1
        return Exchange(inputs, outputs, onnxruntime, samples)


def count_bytes(*groups: Tensors) -> int:
    """Return the size of tensors, the length of a text being that of its bytes."""
    arrays = (array for tensors in groups for array in tensors.values())
    return sum(sum(map(len, array.flat)) if array.dtype == object else array.nbytes for array in arrays)


def keep_few(exchanges: Iterable[Exchange]) -> list[Exchange]:
    """Return the first exchanges: few, small in all, at least one; the others are asked for, and let go one by one."""
    kept: list[Exchange] = []
    size_bytes, full = 0, False
    for exchange in exchanges:
        size_bytes += count_bytes(exchange.inputs, exchange.outputs)
        full = full or (bool(kept) and (len(kept) == PROOF_SAMPLES or size_bytes > PROOF_BYTES))
        if not full:
            kept.append(exchange)
    return kept


def join(exchanges: Sequence[Exchange]) -> Exchange | None:
    """Return exchanges of a model that takes batches as one, None where their shapes do not allow it."""
    groups: list[Tensors] = []
    for tensors in zip(*((each.inputs, each.outputs, each.onnxruntime) for each in exchanges), strict=True):
        try:
            groups.append({name: np.concatenate([each[name] for each in tensors]) for name in tensors[0]})
        except (ValueError, KeyError):
            return None
    joined = Exchange(groups[0], groups[1], groups[2], sum(exchange.samples for exchange in exchanges))
    lengths = {len(array) for array in (*joined.inputs.values(), *joined.outputs.values())}
    return joined if len(lengths) == 1 else None


def shorten(exchanges: Sequence[Exchange], batched: bool, most_rows: int = BATCH) -> list[Exchange]:
    """Return exchanges that ask the same in fewer requests: the first as it is, the others joined where they may be."""
    if not batched or len(exchanges) < 3:
        return list(exchanges)
    rest = join(exchanges[1:])
    is_small = rest is not None and len(next(iter(rest.inputs.values()))) <= most_rows
    return [exchanges[0], rest] if rest is not None and is_small else list(exchanges)


def read_samples(content: Path | BytesIO, subject: str) -> Samples:
    """Read golden samples from an npz with the keys input/<tensor>, output/<tensor> and onnxruntime/<tensor>.

    Raises `UnusableModel` where it is no such archive, or the tensors do not hold equally many samples.
    """
    arrays = read_arrays(content, subject)
    samples = Samples(
        *(
            {key.removeprefix(f"{kind}/"): _read_text(array) for key, array in arrays.items() if _is_of(key, kind)}
            for kind in _KINDS
        )
    )
    counts = {key: len(array) if array.ndim else 0 for key, array in arrays.items()}
    if not (samples.inputs and samples.outputs) or len(set(counts.values())) != 1 or 0 in counts.values():
        raise UnusableModel(
            f"{subject}: samples by tensor {counts}, expected input/<tensor> and output/<tensor> with equally many "
            "each, one at least; write them again"
        )
    return samples


def pack_exchanges(exchanges: Sequence[Exchange], terms: dict[str, Any]) -> bytes:
    """Return exchanges, and the terms on which answers agree, as `unpack_exchanges` reads them."""
    counted = {**terms, _COUNTS: [exchange.samples for exchange in exchanges]}
    arrays: dict[str, Any] = {_TERMS: np.array(json.dumps(counted))}
    for number, exchange in enumerate(exchanges):
        for kind, group in zip(_KINDS[:2], (exchange.inputs, exchange.outputs), strict=True):
            arrays |= {f"{number}/{kind}/{name}": _write_text(array) for name, array in group.items()}
    content = BytesIO()
    np.savez(content, **arrays)
    return content.getvalue()


def unpack_exchanges(content: bytes, subject: str, batched: bool) -> tuple[list[Exchange], dict[str, Any]]:
    """Return what `pack_exchanges` wrote, or samples as earlier releases recorded them, as one request where batched.

    Raises `UnusableModel` where it is neither.
    """
    arrays = read_arrays(BytesIO(content), subject)
    if _TERMS not in arrays:
        samples = read_samples(BytesIO(content), subject)
        parts: Iterable[int | slice] = [slice(0, 1), slice(1, None)] if batched else range(samples.count)
        cut = (samples._cut(part) for part in islice(parts, samples.count))
        return list(cut), {}
    found: dict[int, Exchange] = {}
    for key, array in arrays.items():
        if (match := _EXCHANGE.fullmatch(key)) is not None:
            exchange = found.setdefault(int(match["number"]), Exchange({}, {}))
            (exchange.inputs if match["kind"] == "input" else exchange.outputs)[match["name"]] = _read_text(array)
    try:
        terms = json.loads(str(arrays[_TERMS]))
    except ValueError as error:
        raise UnusableModel(f"{subject}: its terms are no JSON ({error}); release the version again") from error
    if not found or not isinstance(terms, dict):
        raise UnusableModel(f"{subject}: holds no requests with answers; release the version again")
    counts = terms.pop(_COUNTS, None) or [1] * len(found)
    numbered = zip(sorted(found), counts, strict=False)
    return [found[number]._replace(samples=count) for number, count in numbered], terms


def encode_texts(array: np.ndarray) -> np.ndarray:
    """Return texts as Triton takes and gives them, as bytes in UTF-8; other arrays as they are."""
    if array.dtype.kind not in "OSU":
        return array
    texts = [text.encode() if isinstance(text, str) else bytes(text) for text in array.flat]
    encoded = np.empty(len(texts), np.object_)
    encoded[:] = texts
    return encoded.reshape(array.shape)


def _is_of(key: str, kind: str) -> bool:
    return key.startswith(f"{kind}/")


def _read_text(array: np.ndarray) -> np.ndarray:
    return encode_texts(array) if array.dtype.kind in "SU" else array


def _write_text(array: np.ndarray) -> np.ndarray:
    """Return an array that can be stored without pickles: texts as such, bytes that are none as bytes."""
    if array.dtype != object:
        return array
    try:
        texts = [text.decode() if isinstance(text, bytes) else str(text) for text in array.flat]
    except UnicodeDecodeError:
        return np.array([bytes(text) for text in array.flat], np.bytes_).reshape(array.shape)
    return np.array(texts, np.str_).reshape(array.shape)


def _fits_rows(spec: TensorSpec, array: np.ndarray) -> bool:
    """Tell whether an array's first axis is the tensor's own; a model that takes one row gets them one by one."""
    return spec.accepts(array.shape) or (spec.shape[:1] == (1,) and spec.accepts((1, *array.shape[1:])))
