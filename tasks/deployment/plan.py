"""A release, written down before its first change: what is to be, and what was before."""

from pydantic import BaseModel, ConfigDict, Field

from blocks.repository import ModelRepository


class ReleasePlan(BaseModel):
    """What a release will do and the way back, kept as a journal beside the repository until it has ended."""

    model_config = ConfigDict(frozen=True, extra="forbid", protected_namespaces=())

    model_name: str
    registry_version: int = Field(description="Version in the MLflow registry.")
    version: int = Field(description="Version in Triton's model repository.")
    creates_version: bool = Field(description="Whether the version's files are ours to write, and to remove again.")
    already_live: bool = Field(description="Whether the registry version is what `live` and the policy name already.")
    flow_run_id: str = Field(description="The flow run that releases, 'shell' outside of one.")
    config_before: str | None = Field(default=None, description="The committed config.pbtxt, None for a first release.")
    served_before: tuple[int, ...] = Field(default=(), description="Versions in the policy before.")
    aliases_before: dict[str, int] = Field(default={}, description="Aliases of the model before, with their versions.")

    @property
    def live_before(self) -> int | None:
        """The Triton version that answered unversioned requests before: the highest one served."""
        return max(self.served_before, default=None)

    @property
    def serves(self) -> tuple[int, ...]:
        """The policy after the release: this version, and the one before it as long as it does not outrank it.

        Triton answers unversioned requests with the highest version served, so a higher one has to leave.
        """
        keep = {v for v in (self.live_before,) if v is not None and v < self.version}
        return tuple(sorted(keep | {self.version}))


def open_release(repository: ModelRepository, plan: ReleasePlan) -> None:
    """Write the journal; from here on the release is either finished or undone."""
    repository.write_journal(plan.model_name, plan.model_dump_json(indent=2))


def unfinished_release(repository: ModelRepository, model_name: str) -> ReleasePlan | None:
    """Return the release that was begun and neither finished nor undone, if there is one."""
    entry = repository.read_journal(model_name)
    return ReleasePlan.model_validate_json(entry) if entry is not None else None


def close_release(repository: ModelRepository, plan: ReleasePlan) -> None:
    """Remove the journal of a release that is finished or undone, and what it staged."""
    repository.clear_staging(plan.model_name, plan.version)
    repository.close_journal(plan.model_name)
