"""Models as real exporters write them, on real servers: released, and no answer under load is wrong."""

import pytest

from blocks.environment import Environment
from tests.apparatus.kinds.exported import EXPORTED_KINDS
from tests.apparatus.kinds.kind import ModelKind
from tests.apparatus.releasing_kinds import (
    assert_answers_right,
    assert_goes_the_whole_way,
    is_served_in_batches,
    release_kind,
)
from tests.apparatus.thinning import keep

every_export = pytest.mark.parametrize("kind", EXPORTED_KINDS.values(), ids=EXPORTED_KINDS.keys())
telling_exports = pytest.mark.parametrize(
    "kind", keep(EXPORTED_KINDS, {"transformer", "Faster R-CNN", "scikit-learn pipeline with a column of text"})
)


@telling_exports
def test_an_exported_model_is_released_and_answers_every_client_right(
    environment: Environment, model_name: str, kind: ModelKind
) -> None:
    release = release_kind(environment, model_name, kind, seed=1)

    assert_answers_right(environment, model_name, kind, seed=1, version=release.plan.version)
    if kind.is_batched is not None:
        assert is_served_in_batches(environment, model_name) == kind.is_batched


@pytest.mark.exhaustive
@every_export
def test_an_exported_model_goes_the_whole_way_and_back(
    environment: Environment, model_name: str, kind: ModelKind
) -> None:
    assert_goes_the_whole_way(environment, model_name, kind)
