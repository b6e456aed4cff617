"""Which versions are served beside a new one: the newest of those served now and those asked for, none above it."""

import pytest

from blocks.errors import InvalidInput
from blocks.repository_layout import StoredVersions
from slipway.releases.released import Known
from slipway.releases.served_versions import choose_older

# registry versions 11 to 15 were released as 1 to 5; 3 was rolled back from, the files of 1 are gone
MARKED = Known(registry_version=13, version=3, marked="2026-02-03 (too many cats)")
RELEASED = [Known(15, 5, None), Known(14, 4, None), MARKED, Known(12, 2, None), Known(11, 1, None)]
STORED = StoredVersions(repository=(3, 4, 5), archive=(2,))


def choose(
    version: int = 6, served: tuple[int, ...] = (2, 3, 4, 5), keep_served: int = 2, also_serve: tuple[int, ...] = ()
) -> tuple[int, ...]:
    return choose_older(
        "m-onnx",
        version,
        served=served,
        released=RELEASED,
        stored=STORED,
        keep_served=keep_served,
        also_serve=also_serve,
    )


@pytest.mark.parametrize(("keep_served", "older"), [(2, (5,)), (3, (4, 5)), (4, (2, 4, 5)), (5, (2, 4, 5))])
def test_the_newest_of_those_served_now_stay_but_none_that_was_rolled_back_from(
    keep_served: int, older: tuple[int, ...]
) -> None:
    assert choose(keep_served=keep_served) == older


def test_what_is_served_no_more_does_not_come_back_by_itself() -> None:
    assert choose(served=(5,), keep_served=5) == (5,)


def test_what_outranks_the_new_one_leaves() -> None:
    assert choose(version=4, keep_served=5) == (2,)


def test_what_is_asked_for_is_served_beside_those_that_stay() -> None:
    assert choose(served=(4, 5), also_serve=(12,)) == (2, 5)
    assert choose(served=(4, 5), also_serve=(14, 15)) == (4, 5)


def test_the_version_itself_is_not_one_beside_it() -> None:
    assert choose(version=5, served=(4, 5), also_serve=(15,)) == (4,)


@pytest.mark.parametrize(
    ("asked", "message"),
    [
        (16, r"version 16: was never released, expected one that was, .*, or leave it out of also_serve$"),
        (13, r"version 13: was rolled back from at 2026-02-03 \(too many cats\)"),
        (11, r"version 11: its files are neither in the repository nor in the archive any more"),
        (
            15,
            r"version 15: is Triton version 5, expected less than 4, .* answers unversioned requests with the highest",
        ),
    ],
)
def test_what_cannot_be_served_is_refused_and_says_the_way_out(asked: int, message: str) -> None:
    with pytest.raises(InvalidInput, match=rf"^model 'm-onnx' {message}"):
        choose(version=4, also_serve=(12, asked))
