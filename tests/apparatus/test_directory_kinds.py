"""Each kind of Triton directory is what the table says of it, before any server is asked."""

from pathlib import Path

import pytest

from slipway.formats.triton_directory import TritonDirectory
from tests.apparatus.answers import find_difference
from tests.apparatus.kinds.directories import DIRECTORY_KINDS
from tests.apparatus.kinds.directory_kind import DirectoryKind
from tests.apparatus.triton_directories import write_logged

every_kind = pytest.mark.parametrize("kind", DIRECTORY_KINDS, ids=[kind.name for kind in DIRECTORY_KINDS])
REQUESTS = 6


@every_kind
def test_it_answers_different_requests_and_another_seed_otherwise(kind: DirectoryKind) -> None:
    first, second = kind.requests(1, REQUESTS), kind.requests(2, REQUESTS)

    assert any(find_difference(first[0].outputs, other.outputs, kind.tolerance) for other in first[1:])
    pairs = zip(first, second, strict=True)
    assert any(find_difference(one.outputs, other.outputs, kind.tolerance) for one, other in pairs)


@every_kind
def test_its_parts_are_models_and_call_only_what_is_released_before_them(kind: DirectoryKind, tmp_path: Path) -> None:
    released: list[str] = []
    for part in kind.parts:
        artifact = tmp_path / (part.named("m", 1))
        part.write(write_logged(artifact), "m", 1)
        TritonDirectory().arrange(artifact, "m")

        contents = TritonDirectory().open(artifact, "m")

        assert set(contents.depends_on) <= set(released)
        released.append(part.named("m", 1))
    assert released[-1] == "m"


def test_a_version_may_stay_beside_the_next_where_it_calls_nobody_and_shares_nothing_that_changes() -> None:
    staying = {kind.name for kind in DIRECTORY_KINDS if kind.may_stay}

    assert len(DIRECTORY_KINDS) >= 11
    assert staying >= {"several instances", "rows of any length", "Python backend without batches"}
    assert not staying & {"labels", "ensemble of an ensemble", "Python backend that calls another model"}
