"""What the documents name is there: files, folders, commands, targets."""

import re
import subprocess
from pathlib import Path

import pytest

from infra.local.settings import ROOT

DOCUMENTS = sorted(path for path in (*ROOT.glob("*.md"), *(ROOT / "docs").rglob("*.md")))
PRESENT = [path for path in DOCUMENTS if path.name != "CHANGELOG.md" and "adr" not in path.parts]
ROOMS = ("blocks", "docs", "flows", "infra", "slipway", "tasks", "tests")


def name(path: Path) -> str:
    return str(path.relative_to(ROOT))


@pytest.mark.parametrize("document", DOCUMENTS, ids=name)
def test_every_link_to_a_file_leads_to_one(document: Path) -> None:
    links = re.findall(r"\]\((?!https?:|#|mailto:)([^)#]+)", document.read_text())

    assert [link for link in links if not (document.parent / link).exists()] == []


@pytest.mark.parametrize("document", PRESENT, ids=name)
def test_every_path_in_backticks_is_there(document: Path) -> None:
    named = re.findall(rf"`((?:{'|'.join(ROOMS)})/[\w./-]*[\w/])`", document.read_text())

    assert [path for path in named if not (ROOT / path).exists()] == []


def test_every_target_of_make_is_one() -> None:
    targets = set(re.findall(r"^([a-z-]+):", (ROOT / "Makefile").read_text(), re.MULTILINE))
    named = {target for document in PRESENT for target in re.findall(r"\bmake ([a-z][a-z-]+)", document.read_text())}

    assert named - targets <= {"it"}


def test_every_command_is_one() -> None:
    helped = subprocess.run(["slipway", "--help"], capture_output=True, text=True, check=True).stdout
    named = {
        command
        for document in PRESENT
        for command in re.findall(r"(?:`|uv run |^)slipway ([a-z][a-z-]+)", document.read_text(), re.MULTILINE)
    }

    assert named and [command for command in named if not re.search(rf"(?m)^\W*{command}\b", helped)] == []


def test_the_readme_is_read_in_minutes() -> None:
    assert len((ROOT / "README.md").read_text().splitlines()) <= 150
