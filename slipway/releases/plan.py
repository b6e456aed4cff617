"""A release, worked out before its first change: what is to be, and what was before."""

from typing import Annotated, Literal

from pydantic import BaseModel, ConfigDict, Field

from slipway.releases.serving_settings import ServingSettings

# Triton reads directory names with stoll and aborts on numbers that do not fit.
MAX_VERSION = 999_999_999
ForcedVersion = Annotated[
    int | None,
    Field(ge=1, le=MAX_VERSION, description="Version number in the repository; the next free one where left out."),
]
KeepArchived = Annotated[
    int, Field(ge=0, le=10_000, description="How many archived versions stay; one with an alias always does.")
]
KeepServed = Annotated[
    int,
    Field(
        ge=1,
        le=5,
        description="How many versions are served after the release, the new one included; the older ones are the "
        "newest of those that are served now, none that was rolled back from.",
    ),
]
AlsoServe = Annotated[
    tuple[Annotated[int, Field(ge=1)], ...],
    Field(
        max_length=5,
        description="Registry versions, released before and still stored or archived, to serve beside the new one, "
        "whatever keep_served says.",
    ),
]


def name_registered(registry_version: int) -> str:
    """Return what people call a version of the registry; one that it does not know has a number below 0."""
    return str(registry_version) if registry_version > 0 else "unknown"


class ReleasePlan(BaseModel):
    """What a release, a rollback, a withdrawal or an adoption will do, and the way back."""

    model_config = ConfigDict(frozen=True, extra="ignore", protected_namespaces=())  # journals of any version are read

    model_name: str
    kind: Literal["release", "rollback", "withdrawal", "adoption"] = "release"
    registry_version: int = Field(description="Version in the MLflow registry; below 0 where that knows it not.")
    version: int = Field(description="Version in Triton's model repository.")
    creates_version: bool = Field(description="Whether the version's files are ours to write, and to remove again.")
    already_live: bool = Field(description="Whether the registry version is what `live` and the policy name already.")
    flow_run_id: str = Field(description="The flow run that releases, or the id of a shell session.")
    epoch: int = Field(default=0, description="Epoch of the model's lock it is carried out under; 0 where none is.")
    reason: str | None = Field(default=None, description="Why a rollback goes back, or a model is withdrawn.")
    keep_archived: int = Field(default=5, ge=0, description="How many archived versions stay.")
    config_before: str | None = Field(default=None, description="The committed config.pbtxt, None for a first release.")
    author_config_before: str | None = Field(
        default=None, description="The config.pbtxt that the author gave the version live before, None for none."
    )
    settings: ServingSettings = Field(default=ServingSettings(), description="What settings say of how it is served.")
    settings_before: ServingSettings = Field(
        default=ServingSettings(), description="What they said of the version live before."
    )
    served_before: tuple[int, ...] = Field(default=(), description="Versions in the policy before.")
    also_serves: tuple[int, ...] = Field(
        default=(), description="Older versions in the policy after, beside the one live before."
    )
    live_leaves: bool = Field(default=False, description="Whether the version live before is served no more after.")
    adopts: dict[int, int] = Field(
        default={}, description="Of an adoption: the registry's version of each Triton version that it knows."
    )
    aliases_before: dict[str, int] = Field(default={}, description="Aliases of the model before, with their versions.")
    aliases_after: dict[str, int] = Field(default={}, description="All aliases of the model after.")

    @property
    def subject(self) -> str:
        """Model and registered version, for messages."""
        if self.registry_version < 1:
            return f"model '{self.model_name}' Triton version {self.version}, which the registry does not know"
        return f"model '{self.model_name}' version {self.registry_version}"

    @property
    def live_before(self) -> int | None:
        """The Triton version that answered unversioned requests before: the highest one served."""
        return max(self.served_before, default=None)

    @property
    def serves(self) -> tuple[int, ...]:
        """The policy after the release: this version, the one before it, if it stays, and `also_serves`, none higher.

        Triton answers unversioned requests with the highest version served, so a higher one has to leave. After a
        withdrawal nothing is served.
        """
        if self.kind == "withdrawal":
            return ()
        before = None if self.live_leaves else self.live_before
        older = {v for v in (before, *self.also_serves) if v is not None and v < self.version}
        return tuple(sorted(older | {self.version}))
