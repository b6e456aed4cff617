"""Each command line of the documents that slipway was begun from is run by a test, or docs/migrating says why not.

The documents are not in the repository; where they do not lie beside it, the table alone is looked at.
"""

import re
from functools import cache

import pytest

from infra.local.settings import ROOT

DOCUMENTS = ROOT.parent / "shared" / "seeds"
HEADINGS = {
    "1-triton-deployment-scripts": "The scripts",
    "2-triton-argo-workflows": "The Argo workflows",
    "3-triton-gpu-platform": "The platform",
    "4-morpheus-mlflow-triton": "Morpheus and the plugin",
    "5-triton-helm-chart-yolo": "YOLO, a chart, a version in Git",
}
PROGRAMS = "argo curl docker git helm kubectl make mlflow mv nohup pip python python3 python3.12 sudo tritonserver"
COMMAND = re.compile(rf"(?:{'|'.join(map(re.escape, PROGRAMS.split()))}|scripts/\S+) |client\.\w+\(|\w+=\$\(")


@cache
def read_table() -> dict[str, dict[str, str]]:
    """Return what the table says of each command, by the heading above it."""
    page = (ROOT / "docs" / "migrating" / "README.md").read_text()
    parts = re.split(r"^### (.+)\n", page, flags=re.MULTILINE)[1:]
    rows = re.compile(r"^\| `(.+?)` \| (.+) \|$", re.MULTILINE)
    return {heading: dict(rows.findall(text)) for heading, text in zip(parts[::2], parts[1::2], strict=True)}


def read_commands(document: str) -> list[str]:
    """Return the command lines of a document: those of its blocks, and the targets of make anywhere in it."""
    text = (DOCUMENTS / f"{document}.md").read_text()
    blocks = re.findall(r"^[ >]*```[a-z]*\n(.*?)^[ ]*```", text, re.MULTILINE | re.DOTALL)
    blocks += re.findall(r"^\w+@\S+?:(docker run (?:.*\\\n)*.*)$", text, re.MULTILINE)  # after a shell's prompt
    lines = [" ".join(line.split()) for block in blocks for line in re.sub(r"\\\n", " ", block).splitlines()]
    return [line for line in lines if COMMAND.match(line)] + re.findall(r"\bmake [a-z]+-[a-z]+", text)


def matches(line: str, row: str) -> bool:
    return re.fullmatch(".*".join(map(re.escape, row.split("…"))), line) is not None


@pytest.mark.skipif(not DOCUMENTS.is_dir(), reason="the five documents do not lie beside the repository")
@pytest.mark.parametrize("document", HEADINGS)
def test_every_command_line_of_a_document_has_its_row_and_every_row_a_command_line(document: str) -> None:
    rows, lines = read_table()[HEADINGS[document]], read_commands(document)

    assert lines and [line for line in lines if not any(matches(line, row) for row in rows)] == []
    assert [row for row in rows if not any(matches(line, row) for line in lines)] == []


def test_every_row_names_a_test_that_is_there_or_a_reason() -> None:
    said = [text for rows in read_table().values() for text in rows.values()]
    named = [path for text in said for path in re.findall(r"`(tests/\S+?)`", text)]

    assert set(read_table()) == set(HEADINGS.values()) and len(said) > 40
    assert [path for path in named if not re.search(r"^def test_", (ROOT / path).read_text(), re.MULTILINE)] == []
    assert [text for text in said if "`tests/" not in text and len(text.split()) < 2] == []
