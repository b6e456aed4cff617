"""Which registered version a folder's files are: what was written down counts where the files are those, too."""

import pytest

from slipway.releases.found_model import FoundVersion
from slipway.releases.matching import Candidate, match, read_tagged


def folder(*digests: str, recorded: int | None = None) -> FoundVersion:
    files = {f"file-{number}": digest for number, digest in enumerate(digests)}
    return FoundVersion(version=7, sha256=files, recorded=recorded, recorded_in="7/metadata.json")


def known(number: int, *digests: str) -> Candidate:
    return Candidate(number, lambda: frozenset(digests))


ABSENT = "7/metadata.json says 5, which is not in the registry"
UNREADABLE = Candidate(9, lambda: None)


@pytest.mark.parametrize(
    ("found", "number", "how"),
    [
        (folder("b", recorded=2), 2, "7/metadata.json says so, equal SHA-256"),
        (folder("a"), 1, "equal SHA-256"),
        (folder("a", "a readme"), 1, "equal SHA-256"),
        (folder("a", recorded=2), 1, "equal SHA-256; 7/metadata.json says 2, which has other files"),
        (folder("z", recorded=2), None, "unknown to the registry; 7/metadata.json says 2, which has other files"),
        (
            folder("z", recorded=5),
            None,
            f"unknown to the registry; {ABSENT}",
        ),
        (folder("c"), None, "unknown to the registry"),
        (folder("c", "d"), 3, "equal SHA-256"),
        (folder(), None, "unknown to the registry"),
    ],
)
def test_a_folder_is_the_version_whose_files_it_has(found: FoundVersion, number: int | None, how: str) -> None:
    matched = match(found, [UNREADABLE, known(1, "a"), known(2, "b"), known(3, "c", "d"), known(4)])

    assert (matched.version, matched.registry_version, matched.how) == (7, number, how)


def test_of_two_versions_with_the_same_files_the_one_that_was_written_down_is_it() -> None:
    same = [known(4, "a"), known(3, "a")]

    assert match(folder("a", recorded=3), same).registry_version == 3
    assert match(folder("a"), same).registry_version == 4, "else the first that is offered"


def test_what_was_written_down_is_not_asked_for_more_than_needed() -> None:
    def refuse() -> frozenset[str]:
        raise AssertionError("downloaded for nothing")

    assert match(folder("a", recorded=1), [Candidate(2, refuse), known(1, "a")]).registry_version == 1


def test_tags_tell_the_checksums_of_what_triton_gets() -> None:
    tags = {"sha256/model.onnx": "a", "sha256/golden.npz": "g", "sha256/config.pbtxt": "c", "sha256/shared/l.txt": "l"}

    assert read_tagged(tags | {"sha256/model.onnx.data": "b", "stage": "x"}) == {"a", "b"}
    assert read_tagged({"stage": "x"}) == frozenset()
