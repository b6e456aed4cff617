"""A release where Git is the record: committed, waited for until every replica answers with it, proven, or reverted.

Whatever follows the branch, Argo CD, Flux or git-sync, brings the replicas to it; slipway asks them, and loads nothing.
"""

import time
from collections.abc import Sequence
from enum import Enum
from typing import NamedTuple

from pydantic import BaseModel, ConfigDict, Field

from blocks.errors import InvalidInput, LoadFailed, ServiceUnavailable, SlipwayError, VerificationFailed, bounded
from blocks.fleet import TritonFleet
from slipway.releases.agreement import Comparison
from slipway.releases.git_pointer import GitBump, GitPointer
from slipway.releases.proof import Proof, Question
from slipway.releases.serving_config import parse_config, takes_batches
from slipway.releases.version_line import VERSION

POLL_S = 2.0


class Patience(NamedTuple):
    """How long replicas may take."""

    timeout_s: float = 900.0  # what follows the branch asks every minute or three, a pod loads its models
    poll_s: float = POLL_S


PATIENCE = Patience()


class AnsweringReplica(BaseModel):
    """A replica that answers as the committed version does."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    address: str
    comparison: Comparison


class GitRelease(BaseModel):
    """What came of a release."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    model_name: str
    version: int
    before: int
    commit: str | None = Field(description="None where the version was committed already.")
    replicas: tuple[AnsweringReplica, ...]
    told_apart: bool = Field(description="Whether the version before answers otherwise, so that answers tell which.")


class Served(NamedTuple):
    """The model as replicas serve it, and the answers that prove the version that was committed."""

    fleet: TritonFleet
    name: str
    version: int  # in the registry
    proof: Proof


class State(Enum):
    """How a replica stands to the committed version."""

    PROVEN = "answers as the version does"
    OTHER = "answers, and otherwise"
    SILENT = "does not answer"


class Seen(NamedTuple):
    """What one replica was seen to do."""

    address: str
    state: State
    said: str = ""
    comparison: Comparison | None = None


def release(
    pointer: GitPointer,
    version: int,
    served: Served,
    *,
    told_apart: bool = True,
    patience: Patience = PATIENCE,
    owner: str = "",
) -> GitRelease:
    """Commit a version, and return once every replica answers as it does; otherwise the commit is reverted.

    Raises `VerificationFailed` where a replica answers otherwise when the time is over: the commit is taken back.
    Raises `ServiceUnavailable` where nothing speaks against the version and a replica is silent: what is committed
    stays, since silence proves nothing, and run again this goes on. Raises what `GitPointer.write` does.
    """
    before = pointer.read().version
    found = pointer.find_bump(version) if before == version else pointer.write(version, before=before, owner=owner)
    try:
        seen = await_replicas(served, patience)
    except (VerificationFailed, LoadFailed) as error:
        raise VerificationFailed(f"{error}; {_take_back(pointer, found, error)}", model_name=served.name) from error
    except (KeyboardInterrupt, SystemExit) as interruption:
        _take_back(pointer, found, interruption)
        raise
    except ServiceUnavailable as error:
        raise ServiceUnavailable(
            f"{error}; {pointer.subject}: version {version} stays committed and is not proven, since silence proves "
            "nothing: run this again when all replicas answer"
        ) from error
    if (now := pointer.read().version) != version:
        raise VerificationFailed(
            f"{pointer.subject}: says version {now} by now, expected {version}; somebody else committed meanwhile, and "
            "that stands: run this again where it is not meant"
        )
    proven = [AnsweringReplica(address=one.address, comparison=one.comparison) for one in seen if one.comparison]
    return GitRelease(
        model_name=pointer.model_name,
        version=version,
        before=found.before if found else before,
        commit=found.commit if found and before != version else None,
        replicas=tuple(proven),
        told_apart=told_apart,
    )


def take_back_commit_of(owner: str, pointer: GitPointer, reason: str) -> str | None:
    """Revert what a run committed that did not prove it, and say what came of it; None where it committed nothing."""
    found = pointer.find_bump(pointer.read().version)
    if found is None or found.owner != owner:
        return None
    return _take_back(pointer, found, InvalidInput(reason))


def await_replicas(served: Served, patience: Patience) -> list[Seen]:
    """Ask every replica until each of them answers as the version does; names are resolved anew each time."""
    end = time.monotonic() + patience.timeout_s
    while True:
        seen = look(served)
        if is_proven(seen):
            return seen
        if time.monotonic() >= end:
            raise judge(seen, served, patience.timeout_s)
        time.sleep(patience.poll_s)


def look(served: Served) -> list[Seen]:
    """Return how each replica stands to the version now."""
    try:
        addresses = served.fleet.list_addresses()
    except ServiceUnavailable as error:
        return [Seen("; ".join(served.fleet.replicas), State.SILENT, str(error))]
    return [_look_at(served, address) for address in addresses]


def is_proven(seen: Sequence[Seen]) -> bool:
    """Tell whether every replica, and at least one, answers as the version does."""
    return bool(seen) and all(one.state is State.PROVEN for one in seen)


def judge(seen: Sequence[Seen], served: Served, timeout_s: float) -> SlipwayError:
    """Return the error that says what kept a version from being proven: evidence against it goes before silence."""
    against = [one for one in seen if one.state is State.OTHER]
    worst = against or [one for one in seen if one.state is State.SILENT]
    kind = VerificationFailed if against else ServiceUnavailable
    said = "; ".join(f"{one.address}: {one.said}" for one in worst) or "the fleet has no replica"
    return kind(
        f"model '{served.name}': {len(worst)} of {len(seen)} replicas did not answer as version {served.version} does "
        f"within {timeout_s:.0f} s ({bounded(said)})",
        model_name=served.name,
        version=served.version,
    )


def read_said_version(config: str) -> str | None:
    """Return the registered version that a served configuration names, None where it names none."""
    found = parse_config(config).parameters
    return found[VERSION.lower()].string_value if VERSION.lower() in found else None


def _look_at(served: Served, address: str) -> Seen:
    try:
        number = max(served.fleet.list_ready_versions(address, served.name), default=None)
        if number is None:
            return Seen(address, State.OTHER, "no version is ready, see that server's log")
        config = served.fleet.read_served_config(address, served.name)
        if (said := read_said_version(config)) not in {None, str(served.version)}:
            return Seen(address, State.OTHER, f"says version {said}")
        question = Question(served.fleet, address, served.name, number, takes_batches(config)).unpinned
        return Seen(address, State.PROVEN, comparison=question.compare(*served.proof))
    except (VerificationFailed, InvalidInput) as error:
        return Seen(address, State.OTHER, str(error))
    except ServiceUnavailable as error:
        return Seen(address, State.SILENT, str(error))


def _take_back(pointer: GitPointer, found: GitBump | None, error: BaseException) -> str:
    """Revert what was committed, and say what came of it; a revert that fails says so beside the error it is for."""
    if found is None:
        return f"{pointer.subject}: its version was committed by somebody else and stays: commit another"
    try:
        reverted = pointer.revert(found, bounded(error) or type(error).__name__)
    except SlipwayError as failed:
        return f"commit {found.commit} could NOT be reverted ({failed}): revert it by hand"
    if reverted is None:
        return f"{pointer.subject}: another version was committed since, which stays"
    return f"reverted to version {found.before} by commit {reverted.commit}"
