"""Who needs which version: noted at each model that an ensemble, or a model's code, calls, so that it stays served.

records/<model>/dependents/<ensemble>.json  the versions of a model that an ensemble calls
records/<ensemble>/dependencies.json        the models it is noted at

Whoever releases an ensemble does not hold the locks of the models it calls. So it writes its notes first and looks at
those models afterwards, and their releases, with an open journal, look at the notes right before they commit: one of
the two sees the other.
"""

from typing import TypeVar

from pydantic import BaseModel, ConfigDict, ValidationError

from blocks.errors import IntegrityError, InvalidInput, ReleaseInProgress
from blocks.labels import DEPENDENCIES_FILE
from blocks.repository import ModelRepository
from slipway.releases.journal import read_open
from slipway.releases.pins import Pins, read_pins
from slipway.releases.plan import ReleasePlan
from slipway.releases.serving_config import read_policy

Needed = dict[int, tuple[str, ...]]
_DEPENDENTS = "dependents/"


class Dependent(BaseModel):
    """What is noted at a model: an ensemble, and the versions of the model that it calls."""

    model_config = ConfigDict(frozen=True, extra="ignore")

    ensemble: str
    versions: tuple[int, ...]


class Dependencies(BaseModel):
    """What is noted at an ensemble: the models that have a note of it."""

    model_config = ConfigDict(frozen=True, extra="ignore")

    models: tuple[str, ...]


N = TypeVar("N", Dependent, Dependencies)


def record_dependents(ensemble: str, pins: Pins, repository: ModelRepository) -> None:
    """Note at each model which versions an ensemble is about to call, beside those it calls now.

    The journal of its release has to be open: whatever stops it, `align_dependents` puts the notes right. Raises
    `InvalidInput` where a version is served no more, `ReleaseInProgress` where a release under way would end that.
    """
    if not pins:
        return
    before = _read(repository, _locate_index(repository, ensemble), Dependencies)
    _write(repository, _locate_index(repository, ensemble), _name_models({*pins, *(before.models if before else ())}))
    for name, versions in pins.items():
        key = _locate_note(repository, name, ensemble)
        noted = _read(repository, key, Dependent)
        both = sorted({*versions, *(noted.versions if noted else ())})
        _write(repository, key, Dependent(ensemble=ensemble, versions=tuple(both)))
    for name, versions in pins.items():
        _require_kept(ensemble, name, versions, repository)


def align_dependents(ensemble: str, repository: ModelRepository) -> None:
    """Have the notes at each model say what an ensemble's config.pbtxt of now calls, and no more; once again: the same.

    For the end of every release, finished or undone; where nothing is noted, nothing is done.
    """
    index = _locate_index(repository, ensemble)
    if (noted := _read(repository, index, Dependencies)) is None:
        return
    pins = read_pins(repository.read_config(ensemble))
    for name in noted.models:
        key = _locate_note(repository, name, ensemble)
        if name not in pins:
            repository.store.delete(key)
        elif (wanted := Dependent(ensemble=ensemble, versions=pins[name])) != _read(repository, key, Dependent):
            _write(repository, key, wanted)
    left = {name for name in noted.models if name in pins}
    if not left:
        repository.store.delete(index)
    elif left != set(noted.models):
        _write(repository, index, _name_models(left))


def list_needed(repository: ModelRepository, model_name: str) -> Needed:
    """Return which versions of a model are called by ensembles that are live or being released, and by which ones."""
    folder, needed = f"{repository.records_prefix}/{model_name}/{_DEPENDENTS}", Needed()
    for key in sorted(repository.store.list_keys(folder)):
        noted = _read(repository, key, Dependent)
        if noted is not None and _is_live(repository, noted.ensemble):
            for version in noted.versions:
                needed[version] = (*needed.get(version, ()), noted.ensemble)
    return needed


def require_needed(plan: ReleasePlan, repository: ModelRepository) -> None:
    """Raise `InvalidInput` where a plan would stop serving a version that an ensemble calls."""
    leaving = set(plan.served_before) - set(plan.serves)
    needed = list_needed(repository, plan.model_name) if leaving else {}
    for version in sorted(needed.keys() & leaving, reverse=True):
        callers = " and ".join(f"'{name}'" for name in needed[version])
        raise InvalidInput(
            f"{plan.subject}: would be served as {list(plan.serves)}, and Triton version {version} is called by "
            f"{callers}, expected it to stay; release {callers} with another version of it first, or take "
            "it out of service"
        )


def _require_kept(ensemble: str, model_name: str, versions: tuple[int, ...], repository: ModelRepository) -> None:
    """Raise unless the versions are committed, and no release under way would take them out of service."""
    subject = f"model '{ensemble}': calls '{model_name}' version {', '.join(map(str, versions))}"
    committed, begun = read_policy(repository.read_config(model_name)), read_open(repository, model_name)
    if not set(versions) <= set(committed):
        raise InvalidInput(f"{subject}, and {list(committed)} are served by now, expected it to stay; release again")
    if begun is not None and not set(versions) <= set(begun.plan.serves):
        raise ReleaseInProgress(
            f"{subject}, and a release under way (flow run {begun.plan.flow_run_id}) leaves {list(begun.plan.serves)}; "
            "wait for its end, then release again"
        )


def _is_live(repository: ModelRepository, ensemble: str) -> bool:
    """Tell whether an ensemble is served, or on its way there."""
    if read_open(repository, ensemble) is not None:
        return True
    return bool(read_policy(repository.read_config(ensemble)))


def _name_models(models: set[str]) -> Dependencies:
    return Dependencies(models=tuple(sorted(models)))


def _locate_note(repository: ModelRepository, model_name: str, ensemble: str) -> str:
    return f"{repository.records_prefix}/{model_name}/{_DEPENDENTS}{ensemble}.json"


def _locate_index(repository: ModelRepository, ensemble: str) -> str:
    return f"{repository.records_prefix}/{ensemble}/{DEPENDENCIES_FILE}"


def _read(repository: ModelRepository, key: str, kind: type[N]) -> N | None:
    content = repository.store.read(key)
    try:
        return kind.model_validate_json(content) if content is not None else None
    except ValidationError as error:
        raise IntegrityError(
            f"{repository.store.address}, key {key}: cannot be read ({error.error_count()} errors, the first: "
            f"{error.errors()[0]['msg']}), expected what a release wrote; delete it and release the ensemble again"
        ) from error


def _write(repository: ModelRepository, key: str, note: Dependent | Dependencies) -> None:
    repository.store.write(key, note.model_dump_json(indent=2).encode())
