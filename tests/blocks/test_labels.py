"""Each word of the contract with MLflow and the model repository is written in one place, and meant once."""

import ast
from collections import Counter
from collections.abc import Iterator
from functools import cache
from pathlib import Path

import pytest

from blocks import labels
from infra.local.settings import ROOT

SHIPPED = ("blocks", "slipway", "tasks", "flows", "infra")
LABELS = {name: value for name, value in vars(labels).items() if name.isupper()}
FILES = {value for name, value in LABELS.items() if name.endswith("_FILE")}
# In the rooms above, `receipt` is a field, `deploy` a command and `live` a heading: they are not looked for there.
ORDINARY_WORDS, ROOMS_OF_THE_CONTRACT = {"live", "receipt", "deploy"}, ("blocks/", "slipway/", "tasks/")
# Triton's own Python runs it, where there is nothing of ours to import.
APART = {"infra/local/triton/backends/onnxruntime/model.py"}


@cache
def texts(module: str) -> frozenset[str]:
    """Return the string constants of a module, parts of f-strings among them, docstrings and keywords' names not."""
    tree = ast.parse((ROOT / module).read_text())
    constants = {node.value for node in ast.walk(tree) if isinstance(node, ast.Constant)}
    return frozenset(text for text in constants - docstrings(tree) if isinstance(text, str))


def docstrings(tree: ast.Module) -> set[object]:
    documented = (ast.Module, ast.ClassDef, ast.FunctionDef, ast.AsyncFunctionDef)
    found = (ast.get_docstring(node, clean=False) for node in ast.walk(tree) if isinstance(node, documented))
    return {text for text in found if text is not None}


def modules() -> Iterator[str]:
    """Return every shipped module but the one that defines the labels."""
    for room in SHIPPED:
        paths = (str(path.relative_to(ROOT)) for path in (ROOT / room).rglob("*.py"))
        yield from (path for path in sorted(paths) if path != str(Path("blocks", "labels.py")))


def holds(module: str, label: str) -> bool:
    """Tell whether a module writes a label by itself: alone, or as a file's name at the end of a key."""
    if label == labels.RECEIPT_TAG and module.startswith("slipway/releases/"):
        return False  # a field of the journal and a kind of artifact have the same name
    if label in ORDINARY_WORDS and not module.startswith(ROOMS_OF_THE_CONTRACT):
        return False
    return label in texts(module) or (
        label in FILES and any(text.endswith(f"/{label}") and " " not in text for text in texts(module))
    )


@pytest.mark.parametrize("label", sorted(set(LABELS.values())))
def test_a_label_is_written_in_no_other_module(label: str) -> None:
    assert [module for module in modules() if module not in APART and holds(module, label)] == []


def test_a_module_that_is_let_off_writes_a_label() -> None:
    assert [module for module in sorted(APART) if not any(holds(module, label) for label in LABELS.values())] == []


def test_no_two_labels_are_the_same_word() -> None:
    assert [value for value, count in Counter(LABELS.values()).items() if count > 1] == []


def test_each_label_says_what_it_means() -> None:
    source = (ROOT / "blocks" / "labels.py").read_text().splitlines()
    bare = [line for line in source if " = " in line and not line.startswith("#") and "  # " not in line]

    assert bare == ['VALIDATION_PREFIX = "validation_"'], "whose sentence is that of its group"
