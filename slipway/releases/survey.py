"""What is, beside what ought to be: aliases, policy, files and every replica of every model."""

from collections.abc import Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from datetime import datetime
from typing import NamedTuple

from pydantic import BaseModel, ConfigDict, Field

from blocks.environment import Environment
from blocks.errors import (
    AccessRefused,
    IntegrityError,
    InvalidInput,
    NotRegistered,
    ServiceUnavailable,
)
from blocks.fleet import TritonFleet
from blocks.labels import CONFIG_FILE, LIVE, PREVIOUS
from blocks.registry import ModelRegistry, RegisteredModel
from blocks.repository_layout import RepositoryContents, parse_candidate
from blocks.repository_listing import Listing
from slipway.releases.alias_update import explain_refusal
from slipway.releases.drift import Drift, Kind, report
from slipway.releases.journal import read_open
from slipway.releases.metadata import read_metadata
from slipway.releases.retention import find_superfluous
from slipway.releases.serving_config import read_policy
from slipway.releases.version_files import find_changes
from slipway.releases.withdrawn import read_withdrawn
from slipway.releases.wrong_answers import Asked, find_wrong_answers, read_asked

_AT_ONCE = 8
Served = dict[str, dict[str, tuple[int, ...]]]


class ModelState(BaseModel):
    """One model as it is."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    name: str
    aliases: dict[str, int]
    policy: tuple[int, ...] = Field(description="Triton versions committed, none where nothing is.")
    repository: tuple[int, ...]
    archive: tuple[int, ...]
    served: dict[str, tuple[int, ...] | None] = Field(description="By replica; None where it does not answer.")
    drift: tuple[Drift, ...]
    foreign: bool = Field(default=False, description="Whether slipway has no record of it: it is shown, not touched.")
    withdrawn: datetime | None = Field(default=None, description="When it was taken out of service, where it is.")

    @property
    def is_repairable(self) -> bool:
        """Whether something of its drift is safe to put right."""
        return any(drift.kind.is_safe_to_repair for drift in self.drift)


class Depth(NamedTuple):
    """How closely to look."""

    ask_replicas: bool = True
    compare_files: bool = True
    keep_archived: int | None = 5
    """How many archived versions are in order; None: any number."""
    tell_withdrawn: bool = True
    """Whether to read when what is committed no more was taken out of service: it is no drift."""


def survey(
    model_names: tuple[str, ...] | None,
    environment: Environment,
    depth: Depth = Depth(),  # noqa: B008, a value
) -> tuple[ModelState, ...]:
    """Return the state of the named models, of all where none are named; nothing is changed.

    All that one call can tell of many models is asked for once: aliases and files by the page, a replica's models by
    its index. Raises `NotRegistered` for a name that neither the registry nor the repository knows.
    """
    with ThreadPoolExecutor(_AT_ONCE) as pool:
        listing = pool.submit(environment.repository.list_all, model_names)
        indexes = pool.submit(_ask_indexes, environment.fleet)
        contents = environment.repository.list_contents()
        registered = list(_look_up(environment.registry, model_names, contents.all))
        aliases = {model.name: model.aliases for model in registered}
        refused = {model.name: reason for model in registered if (reason := explain_refusal(model)) is not None}
        live = {name for name, of_model in aliases.items() if LIVE in of_model}
        wanted = sorted(contents.all | live | refused.keys()) if model_names is None else list(model_names)
        known = _Known(aliases, refused, contents, listing.result(), indexes.result())
        return tuple(pool.map(_Surveyor(environment, known, depth).look_at, wanted))


def _look_up(
    registry: ModelRegistry, model_names: tuple[str, ...] | None, stored: frozenset[str]
) -> Iterator[RegisteredModel]:
    if model_names is None:
        yield from registry.list_models()
        return
    for name in model_names:
        try:
            yield registry.get_model(name)
        except NotRegistered:
            if name not in stored:
                raise


def _ask_indexes(fleet: TritonFleet) -> dict[str, dict[str, tuple[int, ...]] | None]:
    def index(address: str) -> dict[str, tuple[int, ...]] | None:
        try:
            return fleet.read_index(address)
        except (ServiceUnavailable, AccessRefused):
            return None

    addresses = fleet.list_addresses()
    with ThreadPoolExecutor(min(32, len(addresses))) as pool:
        return dict(zip(addresses, pool.map(index, addresses), strict=True))


class _Known(NamedTuple):
    """What was asked for once, for all models."""

    aliases: dict[str, dict[str, int]]
    refused: dict[str, str]
    contents: RepositoryContents
    listing: Listing
    indexes: dict[str, dict[str, tuple[int, ...]] | None]


class _Surveyor(NamedTuple):
    """What is known of all models, and how to find out the rest of one."""

    environment: Environment
    known: _Known
    depth: Depth

    def look_at(self, name: str) -> ModelState:
        """Return one model as it is; what of it cannot be read is a finding of its own.

        Where what was listed does not fit what is committed, it may have been released since: then it is listed anew.
        """
        state = self._look_at(name, self.known.listing)
        if state.foreign or state.repository == tuple(sorted(state.policy)):
            return state
        return self._look_at(name, self.environment.repository.list_all((name,)))

    def _look_at(self, name: str, listing: Listing) -> ModelState:
        stored, indexes = listing.get_versions(name), self.known.indexes
        state = ModelState(
            name=name,
            aliases=self.known.aliases.get(name, {}),
            policy=(),
            repository=stored.repository,
            archive=stored.archive,
            served={a: None if index is None else index.get(name, ()) for a, index in indexes.items()},
            drift=(),
            foreign=self.known.contents.is_foreign(name),
        )
        if state.foreign:
            return state
        try:
            config = self.environment.repository.read_config(name) if CONFIG_FILE in listing.get_files(name) else None
            policy = read_policy(config)
        except (IntegrityError, InvalidInput) as error:
            found = report(name, Kind.CONFIG_UNREADABLE, str(error), "a policy")
            return state.model_copy(update={"drift": (found,)})
        state = state.model_copy(update={"policy": policy, "withdrawn": self._find_withdrawal(name, config)})
        if config is not None and not policy:
            found = report(name, Kind.CONFIG_UNREADABLE, "no specific versions", "a policy as slipway committed it")
            return state.model_copy(update={"drift": (found,)})
        try:
            return state.model_copy(update={"drift": tuple(self._find_drift(state, config, listing.get_files(name)))})
        except (IntegrityError, InvalidInput) as error:
            found = report(name, Kind.RECORD_UNREADABLE, str(error), "a record as slipway wrote it")
            return state.model_copy(update={"drift": (found,)})

    def _find_withdrawal(self, name: str, config: str | None) -> datetime | None:
        if config is not None or not self.depth.tell_withdrawn:
            return None
        found = read_withdrawn(self.environment.repository, name)
        return found.at if found is not None else None

    def _find_drift(self, state: ModelState, config: str | None, listed: Mapping[str, str | None]) -> Iterator[Drift]:
        name = state.name
        if (reason := self.known.refused.get(name)) is not None:
            yield report(name, Kind.UPDATE_REFUSED, reason, "an alias 'deploy' that can be answered")
        if name in self.known.contents.journals and read_open(self.environment.repository, name) is not None:
            yield report(name, Kind.UNFINISHED_RELEASE, "an open journal", "none between releases")
        if name in self.known.contents.staged:
            yield report(name, Kind.STAGING_LEFT, "files in staging", "none between releases")
        yield from self._find_candidates(name)
        yield from self._find_in_files(state, listed)
        yield from self._find_in_aliases(state)
        yield from self._find_in_replicas(state, config)

    def _find_candidates(self, name: str) -> Iterator[Drift]:
        held = {a: found for a, index in self.known.indexes.items() if (found := _list_candidates(index, name))}
        if name in self.known.contents.candidates or held:
            yield report(name, Kind.CANDIDATE_LEFT, f"a candidate, loaded on {list(held) or 'no replica'}", "none")

    def _find_in_files(self, state: ModelState, listed: Mapping[str, str | None]) -> Iterator[Drift]:
        name = state.name
        if missing := [version for version in state.policy if version not in state.repository]:
            yield report(name, Kind.VERSION_MISSING, f"no files of {missing}", f"those of {list(state.policy)}")
        idle = [version for version in state.repository if version not in state.policy]
        ours = self.environment.repository.list_recorded(name) if idle else ()
        if foreign := [version for version in idle if version not in ours]:
            yield report(name, Kind.VERSION_FOREIGN, f"{foreign} where Triton reads", "versions that slipway released")
        if idle := [version for version in idle if version in ours]:
            yield report(name, Kind.VERSION_IDLE, f"{idle} where Triton reads", f"{list(state.policy)} alone")
        if (keep := self.depth.keep_archived) is not None and len(state.archive) > keep:
            superfluous = find_superfluous(name, keep, self.environment.registry, self.environment.repository)
            if superfluous:
                yield report(name, Kind.ARCHIVE_FULL, f"{list(superfluous)} in the archive", f"the best {keep}")
        if self.depth.compare_files:
            for version in [version for version in state.policy if version in state.repository]:
                for change in find_changes(self.environment.repository, name, version, listed):
                    yield report(name, Kind.FILES_CHANGED, change, "what was committed")

    def _find_in_aliases(self, state: ModelState) -> Iterator[Drift]:
        """Compare what the aliases name with what is served: the registry names things, the policy decides."""
        name = state.name
        served = [
            read_metadata(name, version, self.environment.repository).registry_version
            for version in reversed(state.policy)
        ]
        if name not in self.known.aliases and any(served):
            yield report(name, Kind.MODEL_UNREGISTERED, "no such model in the registry", f"one named '{name}'")
            return
        live = served[0] if served else None
        others = [version for version in served[1:] if version not in {None, live}]
        if state.aliases.get(LIVE) != live:
            yield self._report_misplaced(name, LIVE, state.aliases.get(LIVE), live)
        if others and state.aliases.get(PREVIOUS) not in others:
            yield self._report_misplaced(name, PREVIOUS, state.aliases.get(PREVIOUS), others[0])

    def _report_misplaced(self, name: str, alias: str, observed: int | None, expected: int | None) -> Drift:
        if expected is not None and not self._is_registered(name, expected):
            seen = f"no version {expected}, which is served"
            return report(name, Kind.VERSION_UNREGISTERED, seen, f"'{alias}' on it")
        seen = f"{alias} is {observed if observed is not None else 'not set'}"
        return report(name, Kind.ALIAS_ELSEWHERE, seen, str(expected or "none"))

    def _is_registered(self, name: str, version: int) -> bool:
        try:
            self.environment.registry.require_version(name, version)
        except NotRegistered:
            return False
        return True

    def _find_in_replicas(self, state: ModelState, config: str | None) -> Iterator[Drift]:
        asked: Asked | None = None
        for address, served in state.served.items():
            if served is None:
                yield report(state.name, Kind.REPLICA_SILENT, "no answer", "one in time", address)
            elif served != state.policy:
                yield report(state.name, Kind.REPLICA_BEHIND, str(list(served)), str(list(state.policy)), address)
            elif self.depth.ask_replicas and config is not None:
                asked = asked or read_asked(state.name, state.policy, config, self.environment.repository)
                yield from find_wrong_answers(asked, address, self.environment.fleet)


def _list_candidates(index: dict[str, tuple[int, ...]] | None, model_name: str) -> list[str]:
    return [name for name in index or {} if parse_candidate(name) == model_name]
