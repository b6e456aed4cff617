"""What a Triton replica lacks that refuses a load: one table of how its reasons begin, the most specific first.

The texts are those of Triton 2.51 and of its TensorRT backend, which keeps the better half of its reasons for the log.
"""

import re
from typing import NamedTuple

_REBUILD = "build the plan again there, with its TensorRT (trtexec of the same image), or publish the ONNX model"


class Lack(NamedTuple):
    """What a replica was asked for and has not, and what to do about it."""

    observed: str
    remedy: str


_LACKS = (
    Lack(
        r"unable to find backend library for backend '(?P<backend>[^']+)'",
        "it has no backend '{backend}', expected one; start the replicas from an image that has it, or publish the "
        "model for a backend that they have, as an ONNX file, say",
    ),
    Lack(
        r"has kind KIND_GPU but no GPUs are available|supports only GPU device",
        "it has no GPU, expected one; release it to replicas with a GPU, or, where the backend computes without one, "
        "say KIND_AUTO or KIND_CPU in instance_group",
    ),
    Lack(
        r"specifies invalid or unsupported gpu id (?P<gpu>\d+)",
        "it has no GPU {gpu} that it can use, expected one; leave gpus out of instance_group, or release it to "
        "replicas with as many",
    ),
    Lack(
        r"expecting library version (?P<has>[\d.]+) got (?P<got>[\d.]+)",
        f"it has TensorRT {{has}}, the plan was built with {{got}}; {_REBUILD}",
    ),
    Lack(
        r"expecting compute (?P<has>[\d.]+) got (?:compute )?(?P<got>[\d.]+)",
        f"it has a GPU of compute capability {{has}}, the plan was built for {{got}}; {_REBUILD}",
    ),
    Lack(
        r"unable to (?:create|load|deserialize) (?:TensorRT engine|plan file)",
        "its TensorRT cannot read the plan, built for another version or GPU, its log says which; " + _REBUILD,
    ),
    Lack(
        r"unable to load shared library: (?P<library>[^:;\s]+): cannot open shared object file",
        "it lacks the library {library} of that backend, expected it; start the replicas from a complete image",
    ),
    Lack(
        r"No module named '(?P<module>[^']+)'",
        "its Python has no module '{module}', expected it; bring an environment along (EXECUTION_ENV_PATH), or start "
        "the replicas from an image with it",
    ),
)


def explain_load(text: str) -> str | None:
    """Return what a replica lacks, and what to do, None where its reason is no want of anything known here."""
    for pattern, said in _LACKS:
        if found := re.search(pattern, text):
            return said.format(**{name: value.rstrip(".") for name, value in found.groupdict().items() if value})
    return None
