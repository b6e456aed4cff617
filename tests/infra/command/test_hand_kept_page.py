"""docs/migrating/hand-kept.md: its lines, one after the other, on a model that somebody keeps by hand."""

import re
import shlex

import pytest

from blocks.environment import Environment
from infra.command.main import run
from infra.local.settings import ROOT
from tests.apparatus.foreign_models import Layouts

PAGE = (ROOT / "docs" / "migrating" / "hand-kept.md").read_text()
LINES = [line for block in re.findall(r"```bash\n(.*?)```", PAGE, re.DOTALL) for line in block.splitlines()]
SHOWN = {
    "status": "foreign, not touched",
    "adopt --dry-run": "would adopt versions [2, 3] as they are served",
    "adopt": "proven on 2 replicas",
    "explain-live": "by adoption",
    "rollback": "",
    "withdraw": "out of service on every replica",
}


def test_every_line_of_the_page_does_what_it_is_there_for(
    environment: Environment, model_name: str, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("COLUMNS", "200")
    Layouts(environment, model_name).by_hand(3, "specific { versions: [2, 3] }", registered=2)

    for line in LINES:
        capsys.readouterr()
        code = run(shlex.split(line.replace("my-model-onnx", model_name))[1:])
        shown = " ".join("".join(capsys.readouterr()).split())

        dry = " --dry-run" if "--dry-run" in line else ""
        assert (code, SHOWN[line.split()[1] + dry] in shown) == (0, True), (line, shown)
