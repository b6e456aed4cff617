"""Which older versions are served beside a new one: none that would answer otherwise than it was proven to."""

import pytest

from blocks.checksums import FileDigest
from blocks.errors import InvalidInput
from blocks.labels import META_FILE
from blocks.registry import RegisteredVersion
from slipway.formats.contents import Contents
from slipway.formats.signature import Signature, TensorSpec
from slipway.releases.companions import find_strangers, leave_strangers
from slipway.releases.fetched import FetchedModel
from slipway.releases.metadata import MlflowSection, ModelSection, VersionMetadata
from tests.apparatus.paper import THEN, Shelf

TENSORS = (TensorSpec(name="x", dtype="FP32", shape=("n", 4)),)
CALLING = 'backend: "python" parameters { key: "slipway.depends_on" value { string_value: "other:1" } }'


def fetch(model_name: str, depends_on: tuple[str, ...] = (), **files: str) -> FetchedModel:
    digests = tuple(
        FileDigest(name=f"shared/{name}.txt", sha256=sha256 * 32, size_bytes=1) for name, sha256 in files.items()
    )
    return FetchedModel(
        source="version:9",
        registered=RegisteredVersion(model_name=model_name, version=9, source_uri="s3://nowhere", created_at=THEN),
        contents=Contents(
            backend="python",
            model_file="model.py",
            files=("model.py",),
            signature=Signature(inputs=TENSORS, outputs=TENSORS),
            depends_on=depends_on,
        ),
        files=digests,
        golden=None,
    )


def store(shelf: Shelf, version: int, **files: str) -> None:
    repository, name = shelf.environment.repository, shelf.model_name
    digests = {f"shared/{file}.txt": sha256 * 32 for file, sha256 in files.items()}
    metadata = VersionMetadata(
        mlflow=MlflowSection(model_name=name, version=version), model=ModelSection(sha256=digests)
    )
    key = f"{repository.repository_prefix}/{name}/{version}/metadata.json"
    repository.store.write(key, metadata.model_dump_json(exclude_unset=True).encode())


def test_versions_of_a_model_that_shares_nothing_are_served_side_by_side(shelf: Shelf) -> None:
    name = shelf.released(2).model_name

    assert find_strangers(fetch(name), (1, 2), 'backend: "python"', shelf.environment.repository) == {}


def test_a_version_with_other_shared_files_is_not_served_beside_it(shelf: Shelf) -> None:
    store(shelf, 1, labels="aa", vocabulary="cc")
    store(shelf, 2, labels="bb", tokens="dd")
    new = fetch(shelf.model_name, labels="bb", vocabulary="cc")

    found = find_strangers(new, (1, 2), None, shelf.environment.repository)

    assert found == {1: "its labels.txt is another, and all versions read the new one"}


def test_what_says_only_how_a_version_was_deployed_is_no_reason(shelf: Shelf) -> None:
    store(shelf, 1, meta="aa")
    stored = shelf.environment.repository.read_metadata(shelf.model_name, 1)
    assert stored is not None
    key = f"repository/{shelf.model_name}/1/metadata.json"
    shelf.environment.repository.store.write(key, stored.replace("meta.txt", META_FILE).encode())
    meta = FileDigest(name=f"shared/{META_FILE}", sha256="bb" * 32, size_bytes=1)
    new = fetch(shelf.model_name).model_copy(update={"files": (meta,)})

    assert find_strangers(new, (1,), None, shelf.environment.repository) == {}


@pytest.mark.parametrize(("depends_on", "config"), [(("other",), 'backend: "python"'), ((), CALLING)])
def test_no_version_is_served_beside_one_that_calls_others(
    shelf: Shelf, depends_on: tuple[str, ...], config: str
) -> None:
    name, repository = shelf.released(2).model_name, shelf.environment.repository
    new = fetch(name, depends_on)

    assert find_strangers(new, (1, 2), config, repository).keys() == {1, 2}
    assert leave_strangers(new, (1, 2), asked=set(), needed=set(), config=config, repository=repository) == ()
    with pytest.raises(InvalidInput, match=r"Triton version 1 cannot be served beside it.* leave it out of also_serve"):
        leave_strangers(new, (1, 2), asked={1}, needed=set(), config=config, repository=repository)
    with pytest.raises(InvalidInput, match=r"Triton version 2 cannot be .* and release what calls it with that"):
        leave_strangers(new, (1, 2), asked=set(), needed={2}, config=config, repository=repository)
