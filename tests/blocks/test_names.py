"""What may be called a model, and where a release may come from."""

import pytest
from pydantic import TypeAdapter, ValidationError

from blocks.names import ModelName, Source


@pytest.mark.parametrize("name", ["resnet18-digits-onnx", "m", "a.b", "A_1", "0"])
def test_ordinary_names_are_taken_as_they_are(name: str) -> None:
    assert TypeAdapter(ModelName).validate_python(name) == name


@pytest.mark.parametrize("name", ["", "a/b", "..", "a..b", "a b", "a\n", "-a", ".a", "a.", "ä", "a\x00", "a" * 121])
def test_a_name_that_could_leave_its_directory_or_break_a_key_is_refused(name: str) -> None:
    with pytest.raises(ValidationError, match="expected 1 to 120 letters"):
        TypeAdapter(ModelName).validate_python(name)


@pytest.mark.parametrize("source", ["alias:deploy", "alias:my-alias_2", "version:1", "version:120"])
def test_a_source_is_an_alias_or_a_version(source: str) -> None:
    assert TypeAdapter(Source).validate_python(source) == source


@pytest.mark.parametrize(
    "source", ["", "deploy", "5", "version:", "version:0", "version:x", "alias:", "tag:x", "version:1\n"]
)
def test_a_source_that_is_neither_is_refused_with_an_example(source: str) -> None:
    with pytest.raises(ValidationError, match=r"expected 'alias:NAME' \(say alias:deploy\) or 'version:N'"):
        TypeAdapter(Source).validate_python(source)
