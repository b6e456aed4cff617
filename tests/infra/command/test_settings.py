"""docs/settings.md says what the code reads, no more and no less."""

import re

from infra.command.settings import KINDS, write_document
from infra.local.settings import ROOT
from infra.settings import Settings

# what the local stack's processes tell each other, and prefixes; nobody sets them
OURS_ALONE = {"BIN", "PYTHON", "ROOT", "MEMORY_PREFIX", "TRITON_PYTHON", "TRITON_REPOSITORY", "SUPERVISED"}
FLOORS = ("blocks", "slipway", "tasks", "flows", "infra", "tests/kubernetes")


def test_the_document_is_what_the_code_says() -> None:
    assert (ROOT / "docs" / "settings.md").read_text() == write_document(), (
        "docs/settings.md is not what the code says; write it anew: uv run slipway settings > docs/settings.md"
    )


def test_every_kind_of_settings_is_in_it_and_every_field_is_described() -> None:
    described = {name: bool(field.description) for kind in KINDS for name, field in kind.model_fields.items()}

    assert set(KINDS) == set(Settings.__subclasses__())
    assert all(described.values()), [name for name, text in described.items() if not text]


def test_every_variable_that_the_code_names_is_in_it() -> None:
    files = [path for floor in FLOORS for path in (ROOT / floor).rglob("*") if path.suffix in (".py", ".conf", ".yaml")]
    named = {
        name for path in files for name in re.findall(r"\bSLIPWAY_([A-Z0-9_]*[A-Z0-9])(?![A-Z0-9_])", path.read_text())
    }
    told = set(re.findall(r"`SLIPWAY_([A-Z0-9_]+)`", (ROOT / "docs" / "settings.md").read_text()))

    assert named - told - OURS_ALONE == set()
