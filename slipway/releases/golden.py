"""The golden samples a model was registered with: inputs with the outputs PyTorch gave for them."""

from pathlib import Path

import numpy as np
from tritonclient.utils import triton_to_np_dtype

from blocks.errors import UnusableModel
from blocks.labels import GOLDEN_FILE
from slipway.formats.contents import is_plain_file
from slipway.formats.signature import Signature, TensorSpec
from slipway.releases.samples import read_samples


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
    for specs, tensors in ((inputs, samples.inputs), (outputs, samples.outputs), (outputs, samples.onnxruntime)):
        for name, array in tensors.items():
            _check_tensor(specs[name], array, signature.batched, subject)


def _check_tensor(spec: TensorSpec, array: np.ndarray, batched: bool, subject: str) -> None:
    dtype = np.dtype(triton_to_np_dtype(spec.dtype))
    is_text = spec.dtype == "BYTES" and array.dtype.kind in "SU"
    if not spec.accepts(array.shape if batched else array.shape[1:]) or not (array.dtype == dtype or is_text):
        one = spec.shape[1:] if batched else spec.shape
        raise UnusableModel(
            f"{subject}: '{spec.name}' is {array.dtype} {list(array.shape)}, expected samples of {dtype} {list(one)}, "
            "one after the other; write them again"
        )
