# /// script
# requires-python = ">=3.11,<3.13"
# dependencies = ["nvidia-pytriton==0.7.0", "onnxruntime>=1.23,<2", "numpy<2"]
# ///
"""Becomes one real Triton Inference Server from the `nvidia-pytriton` wheel, with our ONNX Runtime backend.

It has an environment of its own, since the wheel's Python stub breaks with numpy 2. The process is replaced by
`tritonserver`, so that a supervisor's signals reach it. Prints missing system libraries with `--check`; the test image
is made with `--assemble`.
"""

import argparse
import os
import shutil
import subprocess
import sys
import sysconfig
from collections.abc import Sequence
from importlib.metadata import distribution
from pathlib import Path
from typing import NoReturn

ONNXRUNTIME_BACKEND = Path(__file__).parent / "backends" / "onnxruntime"
WHEEL = Path(str(distribution("nvidia-pytriton").locate_file("")))
SERVER = WHEEL / "pytriton" / "tritonserver"
STUB = f"{sys.version_info.major}.{sys.version_info.minor}/triton_python_backend_stub"
SHARED_MEMORY = Path("/dev/shm")  # noqa: S108
PATIENCE_S = 5
CACHE_BYTES = 32 * 1024**2
CONTROL_KEY = "SLIPWAY_TRITON_CONTROL_KEY"
CONTROL = "slipway-control"  # the header that carries the key, over gRPC after triton-grpc-protocol-
RESTRICTED = "model-repository,shared-memory,logging,trace,model-config"
MODES = {
    "explicit": ("--model-control-mode=explicit", "--load-model=*"),
    "poll": ("--model-control-mode=poll", "--repository-poll-secs=3"),
}
_EPOCH_US = 2_440_588 * 86_400 * 1_000_000  # 1970-01-01, as Boost counts time, from the first Julian day


def main() -> None:
    """Check the libraries, then put the backends where they were asked for or become the server."""
    arguments = _arguments()
    missing = missing_libraries()
    if missing:
        sys.exit(f"missing system libraries: {', '.join(missing)}")
    if arguments.assemble:
        assemble_backends(arguments.assemble)
    elif not arguments.check:
        become_server(arguments)


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--check", action="store_true", help="only check for missing system libraries")
    parser.add_argument("--assemble", type=Path, help="only put the backends into this directory, which must be new")
    parser.add_argument("--directory", type=Path, help="working directory of this replica, emptied at start")
    parser.add_argument("--memory-prefix", help="first part of the shared memory's names, this replica's alone")
    parser.add_argument("--repository", help="model repository, a directory or s3://http://host:port/bucket/prefix")
    parser.add_argument("--mode", choices=["explicit", "poll"], default="explicit", help="who decides what is served")
    parser.add_argument("--host", default="127.0.0.1")
    for kind in ("http", "grpc", "metrics"):
        parser.add_argument(f"--{kind}-port", type=int)
    return parser.parse_args()


def missing_libraries() -> list[str]:
    """Return the shared libraries the server, the Python backend or its stub need and this system lacks."""
    files = [
        SERVER / "bin" / "tritonserver",
        SERVER / "backends" / "python" / "libtriton_python.so",
        SERVER / "python_backend_stubs" / STUB,
    ]
    command = ["ldd", *map(str, files)]
    answer = subprocess.run(command, capture_output=True, text=True, env=environment(), check=False)  # noqa: S603
    return sorted({line.split()[0] for line in answer.stdout.splitlines() if "not found" in line})


def environment() -> dict[str, str]:
    """Return this process's variables with the wheel's and this Python's libraries and programs first."""
    libraries = [WHEEL / "nvidia_pytriton.libs", Path(sys.base_prefix, "lib"), sysconfig.get_config_var("LIBDIR")]
    return os.environ | {
        "LD_LIBRARY_PATH": os.pathsep.join([*map(str, libraries), *_present("LD_LIBRARY_PATH")]),
        "PATH": os.pathsep.join([str(Path(sys.executable).parent), *_present("PATH")]),
    }


def _present(variable: str) -> list[str]:
    value = os.environ.get(variable)
    return [value] if value else []


def become_server(arguments: argparse.Namespace) -> None:
    """Replace this process by a replica of the local stack, working in an emptied directory; never returns."""
    directory: Path = arguments.directory.absolute()
    shutil.rmtree(directory, ignore_errors=True)
    become(
        [*server_options(arguments), *restrictions(os.environ.pop(CONTROL_KEY))],
        backends=assemble_backends(directory / "backends"),
        downloads=directory / "downloads",
        memory_prefix=arguments.memory_prefix,
    )


def become(options: Sequence[str], *, backends: Path, downloads: Path, memory_prefix: str) -> NoReturn:
    """Replace this process by `tritonserver` with these backends, after removing what a killed one left behind."""
    remove_leaked_memory(memory_prefix)
    shutil.rmtree(downloads, ignore_errors=True)
    downloads.mkdir(parents=True, exist_ok=True)  # a volume's mount point stays
    binary = SERVER / "bin" / "tritonserver"
    ours = [f"--backend-directory={backends}"]
    ours += [f"--backend-config={name},shm-region-prefix-name={memory_prefix}" for name in ("python", "onnxruntime")]
    variables = environment() | {"TRITON_AWS_MOUNT_DIRECTORY": str(downloads)}
    os.execve(binary, [str(binary), *ours, *options], variables)  # noqa: S606


def remove_leaked_memory(prefix: str) -> None:
    """Remove the shared memory that this replica left behind when it was killed."""
    for leaked in SHARED_MEMORY.glob(f"{prefix}*"):
        leaked.unlink(missing_ok=True)


def assemble_backends(directory: Path) -> Path:
    """Copy the Python backend with the stub of this Python, and our ONNX Runtime backend, side by side."""
    python = directory / "python"
    shutil.copytree(SERVER / "backends" / "python", python)
    lengthen_patience(python / "libtriton_python.so")
    shutil.copy2(SERVER / "python_backend_stubs" / STUB, python)
    shutil.copytree(ONNXRUNTIME_BACKEND, directory / "onnxruntime", ignore=shutil.ignore_patterns("__pycache__"))
    return directory


def lengthen_patience(library: Path) -> None:
    """Let the Python backend wait five seconds, not one, for a silent process before it takes it for dead.

    The memory that the backend frees then is still read by a process that only stood still, for lack of CPU or disk,
    and the server aborts (github.com/triton-inference-server/server/issues/8882). There is no setting for it: the
    compiler folded the second into the constant between Boost's clock and the system's, once where a request is sent
    and once where its answer is awaited.
    """
    one_second, patience = (
        (seconds * 1_000_000 - _EPOCH_US).to_bytes(8, "little", signed=True) for seconds in (1, PATIENCE_S)
    )
    code = library.read_bytes()
    if (places := code.count(one_second)) != 2:
        sys.exit(f"{library.name}: a second's patience is in {places} places, not 2: look at it anew in this wheel")
    library.write_bytes(code.replace(one_second, patience))


def server_options(arguments: argparse.Namespace) -> list[str]:
    """Return the options a replica needs: who decides what is loaded, no exit on a bad model, one address."""
    addresses = [f"--{kind}-address={arguments.host}" for kind in ("http", "grpc", "metrics")]
    ports = [f"--{kind}-port={getattr(arguments, f'{kind}_port')}" for kind in ("http", "grpc", "metrics")]
    return [
        f"--model-repository={arguments.repository}",
        *MODES[arguments.mode],
        "--exit-on-error=false",
        "--strict-readiness=false",
        # completing a configuration that is complete costs a Python process and over a second a load
        "--disable-auto-complete-config",
        "--exit-timeout-secs=3",
        "--allow-gpu-metrics=false",
        # a model that asks for its answers to be cached; the others never look
        f"--cache-directory={SERVER / 'caches'}",
        f"--cache-config=local,size={CACHE_BYTES}",
        *addresses,
        *ports,
    ]


def restrictions(key: str) -> list[str]:
    """Return the options that ask for a key before what can run code in the server or read its memory.

    A web page can send a load to loopback, and the files it brings along may be a backend in Python.
    """
    return [
        f"--http-restricted-api={RESTRICTED}:{CONTROL}={key}",
        f"--grpc-restricted-protocol={RESTRICTED}:{CONTROL}={key}",
    ]


if __name__ == "__main__":
    main()
