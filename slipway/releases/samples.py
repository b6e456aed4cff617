"""Samples: inputs with the outputs a model is known to give for them, as they are kept, cut up and asked for."""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from io import BytesIO
from pathlib import Path
from typing import Any

import numpy as np

from blocks.errors import UnusableModel
from blocks.fleet import Tensors
from slipway.releases.sample_archive import read_arrays

PROOF_BYTES = 2 * 1024**2
REQUEST_BYTES = 32 * 1024**2
_BATCH = 8
_PROOF_SAMPLES = 8
_KINDS = ("input", "output", "onnxruntime")


@dataclass(frozen=True)
class Samples:
    """Inputs with the outputs a model gives for them; the first axis of every tensor counts the samples."""

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

    def first(self, count: int) -> "Samples":
        """Return the first samples."""
        groups = (self.inputs, self.outputs, self.onnxruntime)
        return Samples(*({name: array[:count] for name, array in tensors.items()} for tensors in groups))

    def requests(self, batched: bool, size: int = _BATCH) -> Iterator[Tensors]:
        """Yield the inputs as requests of up to `size` samples that stay small, one each where there are no batches."""
        size = max(1, min(size, int(REQUEST_BYTES / max(1.0, self.sample_bytes)))) if batched else 1
        for start in range(0, self.count, size):
            end = start + size
            yield {name: array[start:end] if batched else array[start] for name, array in self.inputs.items()}

    def small(self) -> "Samples":
        """Return as many of the first samples as are quickly read and asked for, at least one."""
        return self.first(max(1, min(_PROOF_SAMPLES, int(PROOF_BYTES / max(1.0, self.sample_bytes)))))


def count_bytes(*groups: Tensors) -> int:
    """Return the size of tensors."""
    return sum(array.nbytes for tensors in groups for array in tensors.values())


def keep_few(answered: Iterable[tuple[Tensors, Tensors]], batched: bool) -> Samples:
    """Return the first requests and their outputs as samples, no more than `Samples.small` would keep.

    The others are asked for, and let go one by one.
    """
    kept: list[tuple[Tensors, Tensors]] = []
    for inputs, outputs in answered:
        fits = (len(kept) + 1) * count_bytes(inputs, outputs) <= PROOF_BYTES and len(kept) < _PROOF_SAMPLES
        if fits or not kept:
            kept.append((inputs, outputs))
    joined = np.concatenate if batched else np.stack
    groups = ([pair[side] for pair in kept] for side in (0, 1))
    return Samples(*({name: joined([tensors[name] for tensors in group]) for name in group[0]} for group in groups))


def read_samples(content: Path | BytesIO, subject: str) -> Samples:
    """Read samples from an npz with the keys input/<tensor>, output/<tensor> and onnxruntime/<tensor>.

    Raises `UnusableModel` where it is no such archive, or the tensors do not hold equally many samples.
    """
    arrays = read_arrays(content, subject)
    samples = Samples(
        *(
            {key.removeprefix(f"{kind}/"): array for key, array in arrays.items() if key.startswith(f"{kind}/")}
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


def pack(samples: Samples) -> bytes:
    """Return samples as `read_samples` reads them."""
    content = BytesIO()
    groups = zip(_KINDS, (samples.inputs, samples.outputs, samples.onnxruntime), strict=True)
    arrays: dict[str, Any] = {f"{kind}/{name}": array for kind, group in groups for name, array in group.items()}
    np.savez(content, **arrays)
    return content.getvalue()
