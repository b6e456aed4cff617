"""The golden samples a model was registered with: inputs with the outputs PyTorch gave for them."""

from pathlib import Path

import numpy as np
from tritonclient.utils import triton_to_np_dtype

from blocks.errors import UnusableModel
from blocks.fleet import Tensors
from blocks.labels import GOLDEN_FILE
from slipway.formats.contents import is_plain_file
from slipway.formats.signature import Signature, TensorSpec
from slipway.releases.samples import Samples, read_samples


def check_golden(directory: Path, signature: Signature, subject: str) -> None:
    """Raise `UnusableModel` where the golden samples, if there are any, are not such of a model of this signature."""
    path = directory / GOLDEN_FILE
    if not (path.exists() or path.is_symlink()):
        return
    if not is_plain_file(path):
        raise UnusableModel(f"{subject}: {GOLDEN_FILE} is no file; register the model again")
    subject = f"{subject}, {GOLDEN_FILE}"
    samples = read_samples(path, subject)
    inputs = {spec.name: spec for spec in signature.inputs}
    outputs = {spec.name: spec for spec in signature.outputs}
    known = samples.onnxruntime.keys() <= samples.outputs.keys() <= outputs.keys()
    if samples.inputs.keys() != inputs.keys() or not known:
        raise UnusableModel(
            f"{subject}: samples of inputs {sorted(samples.inputs)} and outputs {sorted(samples.outputs)}, the model "
            f"has {sorted(inputs)} and {sorted(outputs)}; write them again"
        )
    for specs, tensors, is_known in (
        (inputs, samples.inputs, False),
        (outputs, samples.outputs, True),
        (outputs, samples.onnxruntime, True),
    ):
        for name, array in tensors.items():
            _check_type(specs[name], array, is_known, subject)
    if samples.find_layout(signature) is None:
        raise UnusableModel(_describe_misfit(samples, [(inputs, samples.inputs), (outputs, samples.outputs)], subject))


def _check_type(spec: TensorSpec, array: np.ndarray, is_known: bool, subject: str) -> None:
    """Raise `UnusableModel` where values are of another type; a known answer may be a float of any precision."""
    dtype = np.dtype(triton_to_np_dtype(spec.dtype))
    is_answer = is_known and dtype.kind == array.dtype.kind == "f"
    if not (array.dtype == dtype or is_answer):
        one = spec.shape[1:] if spec.is_open else spec.shape
        raise UnusableModel(
            f"{subject}: '{spec.name}' is {array.dtype} {list(array.shape)}, expected samples of {dtype} {list(one)}, "
            "one after the other; write them again"
        )


def _describe_misfit(samples: Samples, groups: list[tuple[dict[str, TensorSpec], Tensors]], subject: str) -> str:
    pairs = [(specs[name], array) for specs, tensors in groups for name, array in tensors.items()]
    spec, array = next(
        ((spec, array) for spec, array in pairs if not (spec.accepts(array.shape) or spec.accepts(array.shape[1:]))),
        pairs[0],
    )
    one = spec.shape[1:] if spec.is_open else spec.shape
    return (
        f"{subject}: '{spec.name}' is {array.dtype} {list(array.shape)} with {samples.count} samples, expected samples "
        f"of {array.dtype} {list(one)}, one after the other, of every tensor alike; write them again"
    )
