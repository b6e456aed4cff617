"""Which version of the registry a folder's files are: by what was written down beside them, and by their content."""

from collections.abc import Callable, Iterable, Mapping
from typing import NamedTuple

from pydantic import BaseModel, ConfigDict, Field

from blocks.errors import IntegrityError, InvalidInput, NotRegistered, UnusableModel
from blocks.labels import CHECKSUM_TAG, CONFIG_FILE, GOLDEN_FILE
from blocks.registry import ModelRegistry
from blocks.repository_layout import SHARED
from slipway.releases.fetching import fetch
from slipway.releases.found_model import FoundModel, FoundVersion

MOST_FETCHED = 20
_BESIDE = {GOLDEN_FILE, CONFIG_FILE}  # what a registered version has, and a folder in Triton's repository has not


class Match(BaseModel):
    """A folder, and the registry's version that its files are."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    version: int = Field(description="The folder: Triton's version.")
    registry_version: int | None = Field(description="None where the registry does not know these files.")
    how: str


class Candidate(NamedTuple):
    """A version of the registry: its number, and how to learn the SHA-256 of its files, None where nobody can."""

    number: int
    read_sha256: Callable[[], frozenset[str] | None]


def match_model(found: FoundModel, registry: ModelRegistry) -> tuple[Match, ...]:
    """Return for each folder which version of the registry it is.

    The registry's tags tell most checksums; where they do not, a version is downloaded to disk and digested, the
    newest first, as long as a folder is left.
    """
    try:
        tagged = dict(registry.list_versions(found.model_name))
    except NotRegistered:
        tagged = {}
    fetched = 0

    def read(number: int, tags: Mapping[str, str]) -> frozenset[str] | None:
        nonlocal fetched
        if known := read_tagged(tags):
            return known
        fetched += 1
        return _fetch_digests(found.model_name, number, registry) if fetched <= MOST_FETCHED else None

    known: dict[int, frozenset[str] | None] = {}

    def remember(number: int, tags: Mapping[str, str]) -> frozenset[str] | None:
        if number not in known:
            known[number] = read(number, tags)
        return known[number]

    first = sorted(tagged, key=lambda number: (not read_tagged(tagged[number]), -number))
    candidates = [Candidate(number, lambda n=number: remember(n, tagged[n])) for number in first]  # type: ignore[misc]
    return tuple(match(version, candidates) for version in found.versions)


def match(found: FoundVersion, candidates: Iterable[Candidate]) -> Match:
    """Return which candidate a folder's files are: the one that was written down where it is, else one by content."""
    candidates, own = list(candidates), set(found.sha256.values())
    recorded = next((each for each in candidates if each.number == found.recorded), None)
    if recorded is not None and _holds(own, recorded):
        return Match(
            version=found.version,
            registry_version=recorded.number,
            how=f"{found.recorded_in} says so, equal SHA-256",
        )
    doubt = ""
    if found.recorded is not None:
        seen = "is not in the registry" if recorded is None else "has other files"
        doubt = f"; {found.recorded_in} says {found.recorded}, which {seen}"
    for candidate in candidates:
        if candidate is not recorded and _holds(own, candidate):
            return Match(version=found.version, registry_version=candidate.number, how=f"equal SHA-256{doubt}")
    return Match(version=found.version, registry_version=None, how=f"unknown to the registry{doubt}")


def read_tagged(tags: Mapping[str, str]) -> frozenset[str]:
    """Return the checksums in a version's tags, of what Triton gets of it; none where they say none."""
    named = {name.removeprefix(CHECKSUM_TAG): value for name, value in tags.items() if name.startswith(CHECKSUM_TAG)}
    return frozenset(value for name, value in named.items() if name not in _BESIDE and not name.startswith(SHARED))


def _holds(own: set[str], candidate: Candidate) -> bool:
    """Tell whether all files of a registered version are among a folder's, whatever they are called there."""
    theirs = candidate.read_sha256()
    return bool(theirs) and theirs is not None and theirs <= own


def _fetch_digests(model_name: str, number: int, registry: ModelRegistry) -> frozenset[str] | None:
    try:
        registered = registry.get_version(model_name, number)
        files = fetch(registered, f"version:{number}", registry).files
    except (UnusableModel, IntegrityError, InvalidInput):  # what slipway could not release, it does not recognise
        return None
    return frozenset(file.sha256 for file in files if not file.name.startswith(SHARED))
