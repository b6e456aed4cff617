"""mlflow-meta.json: what NVIDIA's plugin keeps beside a model's config.pbtxt of the deployment it made."""

import json
from typing import NamedTuple

from blocks.labels import META_FILE
from blocks.repository import ModelRepository
from blocks.repository_layout import SHARED


class Meta(NamedTuple):
    """What a deployment was made of."""

    triton_model_path: str
    mlflow_model_uri: str
    flavor: str


def make_meta(name: str, meta: Meta) -> bytes:
    """Return the file of a deployment."""
    return json.dumps({"name": name, **meta._asdict()}, indent=4).encode()


def read_meta(repository: ModelRepository, name: str, version: int | None = None) -> Meta | None:
    """Return what is kept of a deployment, of one of its versions where one is given; None where nothing can be read.

    A version has its own copy, so that a rollback has the right one, too.
    """
    folder = repository.directory(name, version) + SHARED if version is not None else repository.model_directory(name)
    content = repository.store.read(f"{folder}{META_FILE}")
    try:
        found = json.loads(content or b"null")
        return Meta(*(str(found[field]) for field in Meta._fields))
    except (ValueError, KeyError, TypeError):
        return None
