"""A shell in a folder of its own that knows the servers by the variables of the reference scripts, and no Prefect."""

import os
import re
import shlex
import subprocess
import sys
from functools import reduce
from pathlib import Path
from typing import NamedTuple

import pytest
from prefect.settings import PREFECT_API_URL, temporary_settings

from infra.command.main import run
from infra.local.settings import MODELS_BUCKET, REPOSITORY_PREFIX, ROOT, LocalStack

BUCKET = f"{MODELS_BUCKET}/{REPOSITORY_PREFIX}"
_NOT_PASSED_ON = ("PREFECT_API", "SLIPWAY_", "MLFLOW_", "AWS_")
_PASSED_ON = ("PATH", "HOME", "LANG", "TMPDIR", "OMP_NUM_THREADS", "OMP_WAIT_POLICY")


class Ended(NamedTuple):
    """What a command came to."""

    code: int
    out: str
    error: str


class Shell:
    """Runs command lines as a person would who has only the reference's variables."""

    def __init__(self, folder: Path, variables: dict[str, str]) -> None:
        self.folder, self.variables = folder, variables

    def start(self, line: str) -> "subprocess.Popen[str]":
        """Start a command line, `python` being this interpreter."""
        words = [sys.executable if word == "python" else word for word in shlex.split(line)]
        pipe = subprocess.PIPE
        return subprocess.Popen(words, cwd=self.folder, env=self.variables, stdout=pipe, stderr=pipe, text=True)

    def run(self, line: str) -> Ended:
        """Run a command line to its end."""
        return self.wait(self.start(line))

    @staticmethod
    def wait(process: "subprocess.Popen[str]") -> Ended:
        """Return what a started command came to."""
        out, error = process.communicate(timeout=240)
        return Ended(process.returncode, out, error)

    def read(self, name: str) -> str:
        """Return the content of a file in the folder."""
        return (self.folder / name).read_text()


class Call:
    """Runs the scripts in this process, which spares seconds of imports, in a shell's folder and variables."""

    def __init__(self, shell: Shell, capsys: pytest.CaptureFixture[str]) -> None:
        self._shell, self._capsys = shell, capsys

    def __call__(self, line: str) -> Ended:
        self._capsys.readouterr()
        with pytest.MonkeyPatch.context() as patch, temporary_settings(restore_defaults={PREFECT_API_URL}):
            patch.chdir(self._shell.folder)
            for name in [name for name in os.environ if name.startswith(_NOT_PASSED_ON)]:
                patch.delenv(name)
            for name, value in self._shell.variables.items():
                patch.setenv(name, value)
            code = run(["step", *shlex.split(line)])
        return Ended(code, *self._capsys.readouterr())


@pytest.fixture
def call(shell: Shell, capsys: pytest.CaptureFixture[str]) -> Call:
    """What runs `python -m tasks …` in this process, as the shell would."""
    return Call(shell, capsys)


@pytest.fixture
def triton_url(stack: LocalStack) -> str:
    """Both replicas, as the scripts name them."""
    return ",".join(stack.triton_urls.values())


@pytest.fixture
def shell(stack: LocalStack, tmp_path: Path) -> Shell:
    """A shell that is told where MLflow and S3 are, and nothing of slipway but the key of model control."""
    passed_on = {name: value for name, value in os.environ.items() if name in _PASSED_ON}
    places = {"MLFLOW_TRACKING_URI": stack.mlflow_url, "AWS_ENDPOINT_URL": stack.s3_url, "PREFECT_HOME": str(tmp_path)}
    return Shell(tmp_path, passed_on | places | stack.s3_variables() | stack.control_variables())


def read_commands(document: str, model_name: str, mlflow_url: str, triton_url: str) -> list[str]:
    """Return the command lines of a page of docs/migrating, the names in them being those of this test."""
    text = (ROOT / "docs" / "migrating" / document).read_text()
    blocks = re.findall(r"^```bash\n(.+?)^```", text, re.MULTILINE | re.DOTALL)
    ours = {
        "resnet18-imagenette-onnx": model_name,
        "http://triton-0:8000,http://triton-1:8000": triton_url,
        "http://mlflow:80": mlflow_url,
        "my-triton-models": BUCKET,
        "-version=4": "-version=1",
        "version:4": "version:1",
        "[1,3,224,224]": "[1,4]",
        "[1, 3, 224, 224]": "[1, 4]",
        "[1,10]": "[1,3]",
        "[1, 10]": "[1, 3]",
    }
    lines = "".join(blocks).splitlines()
    return [reduce(lambda line, pair: line.replace(*pair), ours.items(), line) for line in lines]
