"""Every kind of Triton directory the whole way: published, released, asked by 16 clients, followed, rolled back."""

from pathlib import Path

import pytest

from blocks.environment import Environment
from flows.rollback import rollback_model
from tests.apparatus.kinds.directories import DIRECTORY_KINDS
from tests.apparatus.kinds.directory_kind import DirectoryKind
from tests.apparatus.releasing_kinds import assert_answers_right, is_served_in_batches, release_directory_kind

every_kind = pytest.mark.parametrize("kind", DIRECTORY_KINDS, ids=[kind.name for kind in DIRECTORY_KINDS])


@pytest.mark.exhaustive
@every_kind
def test_a_directory_goes_the_whole_way_and_back(
    environment: Environment, model_name: str, kind: DirectoryKind, tmp_path: Path
) -> None:
    first = release_directory_kind(tmp_path / "1", model_name, kind, seed=1).plan.version
    assert_answers_right(environment, model_name, kind, seed=1, version=first)
    assert is_served_in_batches(environment, model_name) == kind.is_batched

    second_release = release_directory_kind(tmp_path / "2", model_name, kind, seed=2)
    second = second_release.plan.version
    assert second_release.plan.serves == ((first, second) if kind.may_stay else (second,))
    assert_answers_right(environment, model_name, kind, seed=2, version=second)

    rollback_model(model_name, reason="a test")
    assert_answers_right(environment, model_name, kind, seed=1, version=first)
