"""docs/migrating/platform.md: its targets call what it says, and its lines are run, as they stand, against a Triton."""

import os
import re
import subprocess
from pathlib import Path

import pytest

from infra.local.settings import ROOT
from tests.apparatus.models import linear_model, random_weights
from tests.apparatus.plain_triton import plain_triton
from tests.infra.test_makefile import arguments

PAGE = (ROOT / "docs" / "migrating" / "platform.md").read_text()
ROWS = re.findall(r"^\| `make ([a-z-]+)` \| `make ([a-z-]+)((?: [A-Z]+=\S+)*)` \|", PAGE, re.MULTILINE)
LINES = [line for block in re.findall(r"```bash\n(.*?)```", PAGE, re.DOTALL) for line in block.splitlines()]
CALLED = {
    "check-env": ["images", "check-env"],
    "build-triton": ["images", "build", "triton"],
    "tag-triton": ["images", "tag", "triton"],
    "create-ecr": ["images", "create-ecr"],
    "login-ecr": ["images", "login-ecr"],
    "push-triton": ["images", "push", "triton"],
    "deploy-triton": ["cluster", "deploy-triton", "infra/charts/triton/values-aws.yaml"],
    "destroy-triton": ["cluster", "destroy-triton"],
    "generate-input": ["generate-input", "resnet50", "--to=input.json"],
    "smoke-test": ["cluster", "smoke-test", "resnet50", "--input=input.json", "--gpu", "--http"],
    "loadtest": ["loadtest", "resnet50", "--url=http://localhost:8000"],
}


def test_every_target_of_theirs_is_in_the_table_under_its_name() -> None:
    assert [theirs for theirs, _, _ in ROWS] == [ours for _, ours, _ in ROWS] == list(CALLED)


@pytest.mark.parametrize(("target", "given"), [(ours, given) for _, ours, given in ROWS])
def test_a_target_calls_what_the_page_says(tmp_path: Path, target: str, given: str) -> None:
    values = dict(word.split("=", 1) for word in given.split())

    assert arguments(tmp_path, target, **values)[1:] == CALLED[target]


def test_the_lines_of_the_page_get_their_answers(tmp_path: Path) -> None:
    version = tmp_path / "models" / "resnet50" / "1"
    version.mkdir(parents=True)
    (version / "model.onnx").write_bytes(linear_model(random_weights(1)).SerializeToString())
    (version.parent / "config.pbtxt").write_text(
        'backend: "onnxruntime"\ninput [ { name: "input" data_type: TYPE_FP32 dims: [ -1, 4 ] } ]\n'
        'output [ { name: "output" data_type: TYPE_FP32 dims: [ -1, 3 ] } ]\n'
    )
    ours = ("ARGS", "MAKE", "SLIPWAY_", "TRITON_")  # `make test ARGS=…` gives its own to whatever it runs
    clean = {name: value for name, value in os.environ.items() if not name.startswith(ours)}

    with plain_triton(tmp_path / "triton", tmp_path / "models") as triton:
        for line in LINES:
            line = line.replace("localhost:8000", triton.http).replace("localhost:8001", triton.grpc)
            line = line.replace("input.json", str(tmp_path / "input.json"))
            ended = subprocess.run(line, shell=True, cwd=ROOT, env=clean, capture_output=True, text=True, timeout=120)

            assert ended.returncode == 0, (line, ended.stderr)
            assert re.search(r"a request for resnet50|\"outputs\"|resnet50 version 1|, 0 failed", ended.stdout), line
