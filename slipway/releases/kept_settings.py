"""The serving settings of a model as they are kept: what is said now, who said it when, and what was said before.

settings/<model>.json               what the next release is made with
records/<model>/<N>/settings.json   what a version was released with, where that was something
"""

from datetime import UTC, datetime

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from blocks.environment import Environment
from blocks.errors import ForeignModel, IntegrityError, VersionConflict
from blocks.labels import SETTINGS_FILE
from blocks.repository import ModelRepository
from slipway.releases.plan import ReleasePlan
from slipway.releases.serving_settings import ServingSettings

_KEPT = 50


class Change(BaseModel):
    """What was said from a moment on."""

    model_config = ConfigDict(frozen=True, extra="ignore")

    settings: ServingSettings
    by: str
    at: datetime
    reason: str = ""


class KeptSettings(BaseModel):
    """The settings of a model: every change of them, the newest first, as far as they are kept."""

    model_config = ConfigDict(frozen=True, extra="ignore")

    changes: tuple[Change, ...] = Field(default=(), max_length=_KEPT)

    @property
    def now(self) -> ServingSettings:
        """What is said now."""
        return self.changes[0].settings if self.changes else ServingSettings()

    def changed(self, change: Change) -> "KeptSettings":
        """Return them with one change more, the oldest gone where there are too many."""
        return KeptSettings(changes=(change, *self.changes)[:_KEPT])


def read_kept(repository: ModelRepository, model_name: str) -> KeptSettings:
    """Return the settings of a model; `IntegrityError` where they cannot be read."""
    return _read(repository, model_name)[0]


def keep_settings(
    model_name: str,
    settings: ServingSettings,
    *,
    after: KeptSettings,
    by: str,
    reason: str = "",
    environment: Environment,
) -> KeptSettings:
    """Keep other settings of a model; what is served changes with the next release.

    Raises `NotRegistered` where there is no such model, `ForeignModel` where it is not slipway's, `VersionConflict`
    where somebody else changed them since they were read.
    """
    repository = environment.repository
    environment.registry.get_model(model_name)
    if repository.is_foreign(model_name):
        raise ForeignModel(
            f"model '{model_name}': is in {repository.store.address}, and slipway has no record of releasing it, "
            "expected one of its own; adopt it first: nothing was touched"
        )
    found, etag = _read(repository, model_name)
    changed = after.changed(Change(settings=settings, by=by, at=datetime.now(UTC), reason=reason))
    if found != after or not repository.write_settings(model_name, changed.model_dump_json(indent=2), etag):
        raise VersionConflict(
            f"model '{model_name}' in {repository.store.address}: its settings were changed by somebody else since "
            "they were read; nothing was overwritten: see `slipway config show`, then set yours again"
        )
    return changed


def record_settings(repository: ModelRepository, plan: ReleasePlan) -> None:
    """Record with a version what settings it was proven with."""
    content = plan.settings.model_dump_json(indent=2, exclude_none=True).encode()
    if plan.settings.said:
        repository.write_record(plan.model_name, plan.version, SETTINGS_FILE, content)
    elif not plan.creates_version:
        repository.store.delete(repository.record_key(plan.model_name, plan.version, SETTINGS_FILE))


def read_recorded(repository: ModelRepository, model_name: str, version: int | None) -> ServingSettings:
    """Return the settings that a version was released with, none where there were none."""
    content = repository.read_record(model_name, version, SETTINGS_FILE) if version is not None else None
    try:
        return ServingSettings.model_validate_json(content) if content is not None else ServingSettings()
    except ValidationError as error:
        raise IntegrityError(
            f"model '{model_name}' version {version}: its record {SETTINGS_FILE} cannot be read "
            f"({error.error_count()} errors, the first: {error.errors()[0]['msg']}); delete it, or release it again"
        ) from error


def take_back(plan: ReleasePlan, repository: ModelRepository) -> None:
    """Say again what a rollback's version was released with, unless somebody said something else since.

    The next release is not to bring back what was rolled back from.
    """
    if plan.kind != "rollback" or plan.settings == plan.settings_before:
        return
    found, etag = _read(repository, plan.model_name)
    if found.now != plan.settings_before:
        return
    reason = f"rolled back{f', because: {plan.reason}' if plan.reason else ''}"
    change = Change(settings=plan.settings, by=f"flow run {plan.flow_run_id}", at=datetime.now(UTC), reason=reason)
    repository.write_settings(plan.model_name, found.changed(change).model_dump_json(indent=2), etag)


def _read(repository: ModelRepository, model_name: str) -> tuple[KeptSettings, str | None]:
    found = repository.read_settings(model_name)
    if found is None:
        return KeptSettings(), None
    try:
        return KeptSettings.model_validate_json(found.content), found.etag
    except ValidationError as error:
        raise IntegrityError(
            f"model '{model_name}' in {repository.store.address}: its settings cannot be read ({error.error_count()} "
            f"errors, the first: {error.errors()[0]['msg']}); expected what `slipway config set` wrote: mend "
            f"{repository.settings_prefix}/{model_name}.json, or delete it and set them again"
        ) from error
