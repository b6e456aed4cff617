"""A release in pieces: what one process stages, another one proves, commits and loads, later or elsewhere.

Between the two nothing is locked and nothing is open, so that who stops in between has changed nothing that serves.
What is staged says of itself what it was made of, in its metadata.json, which its record has a copy of.
"""

from pathlib import Path
from typing import NamedTuple

from pydantic import ValidationError

from blocks.checksums import FileDigest
from blocks.environment import Environment
from blocks.errors import (
    ForeignModel,
    IntegrityError,
    InvalidInput,
    NoRollbackTarget,
    ReleaseInProgress,
    VersionConflict,
    bounded,
)
from blocks.labels import METADATA_FILE
from blocks.registry import ModelRegistry
from blocks.repository import ModelRepository
from slipway.releases.artifacts import prepare
from slipway.releases.candidate import prove
from slipway.releases.committing import commit
from slipway.releases.completion import finish, finish_switch
from slipway.releases.fetched import FetchedModel
from slipway.releases.fetching import fetch
from slipway.releases.journal import read_open
from slipway.releases.lock import model_lock
from slipway.releases.metadata import VersionMetadata, read_metadata
from slipway.releases.planning import plan_release
from slipway.releases.pointer import read_committed
from slipway.releases.receipt import read_receipt
from slipway.releases.release import Release, Terms
from slipway.releases.replicas import LoadedReplica, reload_all
from slipway.releases.rollback_plan import plan_rollback
from slipway.releases.staging import stage
from slipway.releases.standalone import turn_alone, undone_where_it_fails
from slipway.releases.switch import is_resident, switch
from slipway.releases.verification import verify

WAIT_S = 60.0


class Staged(NamedTuple):
    """A version that is complete in staging."""

    uri: str  # where it goes once it is proven
    sent_bytes: int  # zero where all was there already


def stage_prepared(model_name: str, version: int, directory: Path, repository: ModelRepository) -> Staged:
    """Take a version's number and put its prepared files into staging, which Triton does not read.

    Every file is compared with what metadata.json says of it before the first byte is sent, and metadata.json is sent
    last. Doing it again sends only what is missing.

    Raises `InvalidInput` where the directory holds another version, `IntegrityError` where a file is not the one that
    was registered, `ForeignModel` where a model of that name is there that slipway never released, `VersionConflict`
    where the number is another's.
    """
    metadata = read_prepared(directory, model_name, version)
    files = _list_files(directory, metadata, f"model '{model_name}' version {version}")
    with model_lock(model_name, repository, wait_s=WAIT_S) as fence:
        fenced = repository.behind(fence.require)
        if _is_stored(model_name, version, metadata, fenced):
            return Staged(repository.uri(model_name, version), 0)
        fenced.claim(model_name, version, metadata.owner)
        content = (directory / METADATA_FILE).read_bytes()
        fenced.write_record(model_name, version, METADATA_FILE, content)
        sent_bytes = fenced.stage(model_name, version, directory, files)
    return Staged(repository.uri(model_name, version), sent_bytes)


def read_prepared(directory: Path, model_name: str, version: int) -> VersionMetadata:
    """Return what a directory's metadata.json says; `InvalidInput` where that is not this version."""
    place = directory / METADATA_FILE
    try:
        metadata = VersionMetadata.model_validate_json(place.read_bytes())
    except (OSError, ValidationError) as error:
        raise InvalidInput(f"{place}: cannot be read ({bounded(error)}); run prepare-artifacts") from error
    made_for = (metadata.mlflow and metadata.mlflow.model_name, metadata.triton and metadata.triton.version)
    if made_for != (model_name, version) or metadata.registry_version is None or metadata.digests is None:
        raise InvalidInput(
            f"{place}: is of model {made_for[0]!r} version {made_for[1]}, expected '{model_name}' version {version}, "
            "its registry version and the SHA-256 of its files; run prepare-artifacts for it"
        )
    return metadata


def read_staged(model_name: str, version: int, repository: ModelRepository) -> VersionMetadata:
    """Return what a version that was staged is made of; `InvalidInput` where none was."""
    content = repository.read_record(model_name, version, METADATA_FILE)
    if content is not None:
        return VersionMetadata.model_validate_json(content)
    metadata = read_metadata(model_name, version, repository)
    if metadata.registry_version is None:
        raise InvalidInput(
            f"model '{model_name}' version {version}: is not staged in {repository.store.address}, or what was staged "
            "was undone since; run upload-to-s3 for it first"
        )
    return metadata


def release_staged(
    model_name: str, version: int, environment: Environment, terms: Terms | None = None
) -> tuple[LoadedReplica, ...]:
    """Release a version that was staged: proven on one replica, committed, loaded and proven on every replica.

    The aliases stay as they are. A version that is live already is loaded and proven once more; an older one that was
    released before is gone back to, which moves the aliases as well. Whatever goes wrong, what was served before is
    served afterwards; what was staged is gone then.
    """
    terms = terms or Terms()
    with turn_alone(model_name, environment, WAIT_S) as (fenced, _):
        committed = read_committed(fenced.repository, model_name)
        live = max(committed, default=0)
        if version == live:
            return reload_all(model_name, committed, terms, fenced)
        if version < live and read_receipt(fenced.repository, model_name, version) is not None:
            return go_back(model_name, version, terms, fenced)
        _require_free(model_name, committed, fenced)
        release = _make_release(model_name, version, fenced)
        with undone_where_it_fails(release.plan, fenced):
            return _carry_out(release, terms, fenced)


def go_back(model_name: str, version: int, terms: Terms, environment: Environment) -> tuple[LoadedReplica, ...]:
    """Go back to an older version that was released before: without a reload where it is served still."""
    metadata = read_metadata(model_name, version, environment.repository)
    source, reason = f"version:{metadata.registry_version}", f"reload-triton was told to load version {version}"
    plan = plan_rollback(model_name, source, reason=reason, environment=environment)
    if plan.version != version:
        raise NoRollbackTarget(
            f"model '{model_name}': registry version {plan.registry_version} was released as version {plan.version} "
            f"last, expected {version}; name that one"
        )
    resident = is_resident(plan, environment.repository)
    fetched = None if resident else _fetch(model_name, version, metadata, environment.registry)
    with undone_where_it_fails(plan, environment):
        if fetched is not None:
            return _carry_out(Release(fetched=fetched, plan=plan, artifacts=prepare(fetched, plan)), terms, environment)
        replicas = switch(plan, terms, environment)
        finish_switch(plan, replicas, environment)
    return tuple(
        LoadedReplica(address=replica.address, versions=plan.serves, load_s=replica.load_s) for replica in replicas
    )


def _carry_out(release: Release, terms: Terms, environment: Environment) -> tuple[LoadedReplica, ...]:
    fetched, plan = release.fetched, release.plan
    stage(release, environment)  # sends what another release cleared away meanwhile
    candidate = prove(release, terms, environment)
    commit(plan, environment.repository)
    loaded = reload_all(plan.model_name, plan.serves, terms, environment)
    verified = verify(fetched, plan.version, terms, environment)
    finish(plan, fetched, candidate, loaded, verified, approval=None, environment=environment)
    return loaded


def _make_release(model_name: str, version: int, environment: Environment) -> Release:
    repository = environment.repository
    metadata = read_staged(model_name, version, repository)
    fetched = _fetch(model_name, version, metadata, environment.registry)
    planned = plan_release(fetched, force_version=version, keep_archived=5, leave_silent=False, environment=environment)
    plan = planned.model_copy(update={"flow_run_id": metadata.owner, "aliases_after": planned.aliases_before})
    artifacts = prepare(fetched, plan)
    if (content := repository.read_record(model_name, version, METADATA_FILE)) is not None:
        artifacts = artifacts.model_copy(update={"metadata": content.decode()})
    return Release(fetched=fetched, plan=plan, artifacts=artifacts)


def _fetch(model_name: str, version: int, metadata: VersionMetadata, registry: ModelRegistry) -> FetchedModel:
    """Return the registered version that was staged; `IntegrityError` where it is another by now."""
    number = metadata.registry_version or 0
    source = (metadata.mlflow and metadata.mlflow.alias_at_deploy) or f"version:{number}"
    fetched = fetch(registry.get_version(model_name, number), source, registry)
    if {file.name: file.sha256 for file in fetched.files} != metadata.digests:
        raise IntegrityError(
            f"model '{model_name}' version {version}: is staged as registry version {number} of other files than "
            f"{registry.tracking_uri} has; begin again with fetch-model"
        )
    return fetched


def _list_files(directory: Path, metadata: VersionMetadata, subject: str) -> tuple[FileDigest, ...]:
    """Return the files to send, each compared with what was registered; metadata.json is the last one."""
    files = []
    for name, sha256 in (metadata.digests or {}).items():
        if not (directory / name).is_file():
            raise InvalidInput(f"{subject}: {directory} has no {name}; run prepare-artifacts again")
        found = FileDigest.of(directory / name, name)
        if found.sha256 != sha256:
            raise IntegrityError(
                f"{subject}: {directory / name} has SHA-256 {found.sha256}, registered was {sha256}; a model that was "
                "changed is registered first: then begin again with fetch-model"
            )
        files.append(found)
    return (*files, FileDigest.of(directory / METADATA_FILE))


def _is_stored(model_name: str, version: int, metadata: VersionMetadata, repository: ModelRepository) -> bool:
    """Tell whether a version needs no staging any more.

    Raises where it cannot be staged: another's model, another's number, a release that is to be settled.
    """
    if repository.is_foreign(model_name):
        raise ForeignModel(
            f"model '{model_name}': is in {repository.store.address} already, and slipway has no record of releasing "
            "it; adopt it first (slipway adopt), or register yours under another name: nothing was touched"
        )
    stored = repository.list_versions(model_name)
    if version in (*stored.repository, *stored.archive):
        if read_metadata(model_name, version, repository).digests == metadata.digests:
            return True
        raise VersionConflict(
            f"model '{model_name}' version {version} in {repository.store.address}: exists with other content, and is "
            "never overwritten; take the next number: determine-version, then prepare-artifacts"
        )
    if read_open(repository, model_name) is not None:
        raise ReleaseInProgress(
            f"model '{model_name}': a release of it was broken off and is not settled yet; run the last reload-triton "
            "again, which settles it, then this"
        )
    return False


def _require_free(model_name: str, committed: tuple[int, ...], environment: Environment) -> None:
    """Raise `ForeignModel` where replicas serve a model of this name, and slipway never committed one."""
    if committed:
        return
    fleet = environment.fleet
    where = [address for address in fleet.check() if fleet.list_ready_versions(address, model_name)]
    if where:
        raise ForeignModel(
            f"model '{model_name}': is served by Triton {' and '.join(where)} already, and slipway has not released it "
            "there; adopt it first (slipway adopt), or register yours under another name: nothing was touched"
        )
