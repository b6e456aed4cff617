"""The types of the parameters that name things: models, versions and where a release comes from."""

import re
from typing import Annotated

from pydantic import AfterValidator, Field

MODEL_NAME_PATTERN = r"^[A-Za-z0-9][A-Za-z0-9_-]*(\.[A-Za-z0-9_-]+)*$"
SOURCE_PATTERN = r"^(alias:[A-Za-z][A-Za-z0-9_-]*|version:[1-9][0-9]*)$"


def check_model_name(name: str) -> str:
    """Return a name that a model can have; `ValueError` says why it cannot."""
    if len(name) > 120 or not re.fullmatch(MODEL_NAME_PATTERN.strip("^$"), name):
        raise ValueError(
            f"model name {name!r}: expected 1 to 120 letters, digits, '-', '_' and single '.', "
            "starting with a letter or digit, since it becomes a key in S3 and a directory in Triton"
        )
    return name


def check_source(source: str) -> str:
    """Return what names a registered version; `ValueError` where it does not."""
    if not re.fullmatch(SOURCE_PATTERN.strip("^$"), source):
        raise ValueError(f"source {source!r}: expected 'alias:NAME' (say alias:deploy) or 'version:N' (say version:5)")
    return source


ModelName = Annotated[
    str,
    AfterValidator(check_model_name),
    Field(
        description="Name of the model in the MLflow registry.",
        json_schema_extra={"pattern": MODEL_NAME_PATTERN},
    ),
]

Source = Annotated[
    str,
    AfterValidator(check_source),
    Field(
        description="Which registered version: 'alias:NAME' or 'version:N'.",
        json_schema_extra={"pattern": SOURCE_PATTERN},
    ),
]
