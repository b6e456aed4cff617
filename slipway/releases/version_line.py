"""The line of a file in Git that says which registered version of a model is served; every other byte stays.

In a values file that is the value of MLFLOW_MODEL_VERSION in a server's `env` or `environment`, in a config.pbtxt the
parameter `mlflow_model_version`.
"""

import re
from collections.abc import Iterator
from pathlib import PurePosixPath
from typing import NamedTuple

import yaml

from blocks.errors import InvalidInput, bounded
from blocks.labels import CONFIG_FILE
from slipway.formats.model_config import parse_config

NAME, VERSION = "MLFLOW_MODEL_NAME", "MLFLOW_MODEL_VERSION"
_VARIABLES = ("env", "environment")
_COMMENT = re.compile(r'"(?:\\.|[^"\\\n])*"|(#[^\n]*)')
_NUMBER = re.compile(r"[1-9][0-9]{0,17}")


class Place(NamedTuple):
    """Where a server's version is written."""

    start: int  # in characters, quotes included
    end: int
    served_as: str | None  # the server's name, which by convention is the model's in Triton
    registered_as: str | None  # the model's name in the registry, where it is said


class VersionLine(NamedTuple):
    """The version of a model as a file says it, in one place or, for several servers, in more."""

    text: str
    version: int
    places: tuple[Place, ...]

    @property
    def registered_as(self) -> set[str]:
        """What the file calls the model in the registry."""
        return {place.registered_as for place in self.places if place.registered_as}

    @property
    def served_as(self) -> set[str]:
        """What the file calls the model in Triton."""
        return {place.served_as for place in self.places if place.served_as}

    def replace(self, version: int) -> str:
        """Return the text with another version in those places, quoted as before; all else is as it was."""
        text = self.text
        for place in sorted(self.places, reverse=True):
            said = text[place.start : place.end]
            text = text[: place.start] + said.replace(str(self.version), str(version)) + text[place.end :]
        return text


def read_line(content: bytes, path: str, model_name: str) -> VersionLine:
    """Return what a file says of a model; `InvalidInput` where it says nothing, or nothing clear.

    Args:
        content: the file.
        path: how it is called in its repository; one that ends in .pbtxt is Triton's, any other YAML.
        model_name: the model, by the server's name or by its name in the registry.
    """
    subject = f"{path}, model '{model_name}'"
    text = _decode(content, path)
    find = _find_in_config if path.endswith(".pbtxt") else _find_in_values
    places = tuple(sorted(set(find(text, path, model_name))))
    if not places:
        raise InvalidInput(
            f"{subject}: says no version, expected a server of that name, or whose {NAME} it is, with {VERSION} beside "
            "it; correct --model_name or --values_path, or add the variable"
        )
    said = {text[place.start : place.end].strip("\"'") for place in places}
    numbers = {int(number) for number in said if _NUMBER.fullmatch(number)}
    if len(said) != 1 or len(numbers) != 1:
        raise InvalidInput(
            f"{subject}: says version {bounded(', '.join(sorted(said)), 200)}, expected one number; bring all servers "
            "of the model to one"
        )
    return VersionLine(text, numbers.pop(), places)


def _decode(content: bytes, path: str) -> str:
    try:
        return content.decode()
    except UnicodeDecodeError as error:
        raise InvalidInput(f"{path}: is no text in UTF-8 ({error}); correct --values_path") from error


def _find_in_values(text: str, path: str, model_name: str) -> Iterator[Place]:
    try:
        documents = [node for node in yaml.compose_all(text, Loader=yaml.SafeLoader) if node is not None]
    except yaml.YAMLError as error:
        raise InvalidInput(
            f"{path}: is no YAML ({bounded(error, 300)}), expected a values file; correct it, or --values_path"
        ) from error
    for mapping in _list_mappings(documents):
        name = _get_scalar(mapping, "name")
        for key in _VARIABLES:
            variables = _list_variables(_get(mapping, key))
            if VERSION not in variables:
                continue
            registered = variables[NAME].value if NAME in variables else None
            served = name.value if name is not None else None
            if model_name in {served, registered}:
                yield Place(*_find_scalar(variables[VERSION], text, path), served, registered)


def _list_mappings(nodes: list[yaml.Node]) -> Iterator[yaml.MappingNode]:
    """Yield every mapping once, however deep it is and from wherever it is referred to."""
    seen, left = set[int](), list(nodes)
    while left:
        node = left.pop()
        if id(node) in seen or isinstance(node, yaml.ScalarNode):
            continue
        seen.add(id(node))
        if isinstance(node, yaml.MappingNode):
            yield node
            left += [value for _, value in node.value]
        else:
            left += node.value


def _get(mapping: yaml.MappingNode, key: str) -> yaml.Node | None:
    return next((value for name, value in mapping.value if name.value == key), None)


def _get_scalar(node: yaml.Node, key: str) -> yaml.ScalarNode | None:
    found = _get(node, key) if isinstance(node, yaml.MappingNode) else None
    return found if isinstance(found, yaml.ScalarNode) else None


def _list_variables(node: yaml.Node | None) -> dict[str, yaml.ScalarNode]:
    """Return variables by their names, whether they are a list of names and values or a mapping."""
    if isinstance(node, yaml.MappingNode):
        pairs = [(key, value) for key, value in node.value]
    elif isinstance(node, yaml.SequenceNode):
        pairs = [(_get_scalar(item, "name"), _get_scalar(item, "value")) for item in node.value]
    else:
        return {}
    return {
        key.value: value
        for key, value in pairs
        if isinstance(key, yaml.ScalarNode) and isinstance(value, yaml.ScalarNode)
    }


def _find_scalar(node: yaml.ScalarNode, text: str, path: str) -> tuple[int, int]:
    """Return where a value is written, without an anchor or a tag before it."""
    start, end = node.start_mark.index, node.end_mark.index
    literal = f"{node.style}{node.value}{node.style}" if node.style in {"'", '"'} else node.value
    if node.style in {"|", ">"} or not literal or not text[start:end].endswith(literal):
        raise InvalidInput(
            f"{path} line {node.start_mark.line + 1}: {VERSION} is written as {bounded(repr(text[start:end]), 80)}, "
            "expected a number on the line, quoted or not; write it so"
        )
    return end - len(literal), end


def _find_in_config(text: str, path: str, model_name: str) -> Iterator[Place]:
    parse_config(text, path)  # what Triton cannot read is not edited
    plain = _COMMENT.sub(lambda found: " " * len(found[0]) if found[1] else found[0], text)
    folder = PurePosixPath(path).parent.name if path.endswith(CONFIG_FILE) else None
    registered = _find_parameter(plain, NAME.lower())
    version = _find_parameter(plain, VERSION.lower())
    if version is not None and model_name in {folder, registered and registered["value"].strip("\"'")}:
        yield Place(*version.span("value"), folder or None, registered["value"].strip("\"'") if registered else None)


def _find_parameter(plain: str, name: str) -> "re.Match[str] | None":
    quote = "[\"']"
    head = rf"key\s*:\s*{quote}{name}{quote}[\s,;]*value\s*:?\s*[{{<]\s*string_value\s*:\s*"
    pattern = rf"{head}(?P<value>{quote}[^\"'\n]*{quote})"
    return re.search(pattern, plain)
