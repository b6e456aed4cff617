"""Drift: one thing of a model that is other than it ought to be, and whether putting it right is safe."""

from enum import StrEnum

from pydantic import BaseModel, ConfigDict, Field


class Kind(StrEnum):
    """What can be other than it ought to be."""

    UNFINISHED_RELEASE = "unfinished release"
    REPLICA_BEHIND = "replica serves other versions"
    REPLICA_WRONG = "replica answers wrongly"
    OLDER_WRONG = "older version answers wrongly"
    REPLICA_SILENT = "replica does not answer"
    REPLICA_SLOW = "replica is slow to answer"
    CANDIDATE_LEFT = "candidate left behind"
    STAGING_LEFT = "upload left in staging"
    VERSION_IDLE = "version not served"
    ARCHIVE_FULL = "archive beyond retention"
    VERSION_MISSING = "served version has no files"
    FILES_CHANGED = "files changed under a version"
    VERSION_FOREIGN = "version that slipway never released"
    ALIAS_ELSEWHERE = "alias points elsewhere"
    MODEL_UNREGISTERED = "registered model is gone"
    VERSION_UNREGISTERED = "served version is gone from the registry"
    UPDATE_REFUSED = "alias asks for what is refused"
    RECORD_UNREADABLE = "record unreadable"
    CONFIG_UNREADABLE = "config.pbtxt unreadable"

    @property
    def is_safe_to_repair(self) -> bool:
        """Whether putting it right can take nothing from anyone."""
        return self in _SAFE


_SAFE = {
    Kind.UNFINISHED_RELEASE,
    Kind.REPLICA_BEHIND,
    Kind.REPLICA_WRONG,
    Kind.CANDIDATE_LEFT,
    Kind.STAGING_LEFT,
    Kind.VERSION_IDLE,
    Kind.ARCHIVE_FULL,
}


class Drift(BaseModel):
    """One thing that is other than it ought to be."""

    model_config = ConfigDict(frozen=True, extra="forbid", protected_namespaces=())

    model_name: str
    kind: Kind
    observed: str
    expected: str
    address: str | None = Field(default=None, description="The replica, where it is one's alone.")


def report(name: str, kind: Kind, observed: str, expected: str, address: str | None = None) -> Drift:
    """Return what was found of a model, at one replica where it is one's alone."""
    return Drift(model_name=name, kind=kind, observed=observed, expected=expected, address=address)
