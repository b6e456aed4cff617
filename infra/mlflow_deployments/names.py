"""What a deployment may be called, as NVIDIA's plugin has it: whatever can be one folder of a model repository."""

import re

from blocks.errors import InvalidInput
from blocks.repository_layout import parse_candidate

_LONGEST = 200
_UNSAFE = re.compile(r"[\x00-\x1f\x7f\\'\"]")


def check_name(name: str) -> None:
    """Raise `InvalidInput` where a name is empty, leaves the repository, or is one that nothing could be called."""
    if not name.strip():
        raise InvalidInput("Model name cannot be empty. Please enter a valid name to deploy.")
    if "/" in name or name in {".", ".."}:
        raise InvalidInput(f"Path traversal is not allowed in model's name: {name}")
    if _UNSAFE.search(name) or len(name) > _LONGEST or parse_candidate(name) is not None:
        raise InvalidInput(
            f"model name {name!r}: expected up to {_LONGEST} characters, none of them a quotation mark, a backslash or "
            "a control character, and no name that slipway proves candidates under; choose another"
        )
