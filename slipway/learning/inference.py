"""The same inputs through PyTorch and through ONNX Runtime, at one batch size, timed."""

import time
from pathlib import Path

import numpy as np
import onnxruntime
import torch
from numpy.typing import NDArray
from torch import nn

from slipway.learning.precision import forcing_full_precision
from slipway.learning.samples import INPUT, OUTPUT

Array = NDArray[np.float32]
CUDA = "CUDAExecutionProvider"


def run_pytorch(model: nn.Module, inputs: Array, batch_size: int) -> tuple[Array, float]:
    """Return a model's outputs (n, classes) for inputs (n, ...) and the seconds they took."""
    device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
    model.to(device)
    started = time.monotonic()
    with torch.no_grad(), forcing_full_precision():
        batches = torch.split(torch.from_numpy(inputs), batch_size)
        outputs = torch.cat([model(batch.to(device)).cpu() for batch in batches])
    return outputs.numpy(), time.monotonic() - started


def open_session(path: Path) -> onnxruntime.InferenceSession:
    """Return a session on the GPU where there is one; TF32 off, since it alone is worth a difference of 1e-3.

    ONNX Runtime takes its CUDA libraries from the wheels that PyTorch brings, and computes on the CPU where it finds
    none: `name_device` says where it does.
    """
    cuda = torch.cuda.is_available() and CUDA in onnxruntime.get_available_providers()
    if cuda:
        onnxruntime.preload_dlls()
    providers = [(CUDA, {"use_tf32": "0"})] if cuda else []
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = torch.get_num_threads()
    options.log_severity_level = 3
    return onnxruntime.InferenceSession(str(path), options, providers=[*providers, "CPUExecutionProvider"])


def name_device(providers: list[str]) -> str:
    """Return where both models compute, given the providers of a session, the first one first."""
    onnx, pytorch = ("GPU" if gpu else "CPU" for gpu in (providers[:1] == [CUDA], torch.cuda.is_available()))
    full = ", TF32 off" if "GPU" in (onnx, pytorch) else ""
    return f"both on the {onnx}{full}" if onnx == pytorch else f"PyTorch on the {pytorch}, ONNX on the {onnx}{full}"


def run_onnx(session: onnxruntime.InferenceSession, inputs: Array, batch_size: int) -> tuple[Array, float]:
    """Return a session's outputs (n, classes) for inputs (n, ...) and the seconds they took."""
    started = time.monotonic()
    outputs = [
        session.run([OUTPUT], {INPUT: inputs[start : start + batch_size]})[0]
        for start in range(0, len(inputs), batch_size)
    ]
    return np.concatenate(outputs), time.monotonic() - started
