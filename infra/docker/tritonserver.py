#!/opt/venv/bin/python
"""The test image's `tritonserver`: takes the options of the real one and becomes it, with our backends beside it."""

import os
import socket
import sys
from pathlib import Path

from infra.local.triton.serve import become

BACKENDS = Path("/opt/tritonserver/backends")
DOWNLOADS = Path(os.environ.get("TRITON_AWS_MOUNT_DIRECTORY", "/tmp/triton-downloads"))  # noqa: S108

if __name__ == "__main__":
    # a pod keeps its name and its shared memory when its container restarts, so the prefix finds what was leaked
    become(sys.argv[1:], backends=BACKENDS, downloads=DOWNLOADS, memory_prefix=f"slipway-{socket.gethostname()}-")
