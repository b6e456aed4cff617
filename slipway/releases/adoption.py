"""Adoption: a model that somebody else put into service becomes slipway's, and nothing that is served stops for it.

Its folders are matched with the registry's versions, what is served is asked as a release would ask; then config.pbtxt
names what is served, and whatever is not served goes to the archive. No replica loads anything.
"""

from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Any, NamedTuple

import numpy as np
from pydantic import BaseModel, ConfigDict

from blocks.environment import Environment
from blocks.errors import IntegrityError, InvalidInput, NotRegistered, UnusableModel, VersionConflict
from blocks.labels import LIVE, PREVIOUS
from blocks.registry import ModelRegistry, RegisteredVersion
from blocks.repository import ModelRepository
from blocks.run import get_owner, warn
from slipway.formats.contents import Contents
from slipway.formats.model_config import find_backend, find_model_file, read_signature
from slipway.formats.signature import Shape
from slipway.releases.adopted import record_version
from slipway.releases.agreement import Comparison
from slipway.releases.agreement_terms import AgreementTerms, choose_terms
from slipway.releases.bucket_registration import register_folder
from slipway.releases.completion import complete
from slipway.releases.fetched import FetchedModel, load_example, load_golden
from slipway.releases.fetching import fetch
from slipway.releases.found_model import FoundModel, FoundVersion, find_model
from slipway.releases.journal import ensure_open, mark_proven
from slipway.releases.matching import Match, match_model
from slipway.releases.metadata import read_metadata
from slipway.releases.plan import ReleasePlan
from slipway.releases.pointer import commit_plan
from slipway.releases.proof import Proof, Question, write_proof
from slipway.releases.proven_config import record_config
from slipway.releases.questions import Sources, ask_candidate
from slipway.releases.receipt import Receipt, ReplicaReceipt, record_receipt
from slipway.releases.service_level import Requests, time_requests
from slipway.releases.serving_config import count_rows, parse_config, takes_batches
from slipway.releases.synthetic import read_given_shapes

_REQUESTS = 8
_TIMED_REQUESTS = 10


class Adoption(BaseModel):
    """A foreign model as it was found, which registered versions its folders are, and what will be done."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    found: FoundModel
    matches: tuple[Match, ...]
    plan: ReleasePlan

    def find(self, version: int) -> tuple[FoundVersion, Match]:
        """Return one folder, and what it is."""
        return (
            next(each for each in self.found.versions if each.version == version),
            next(each for each in self.matches if each.version == version),
        )


class ProvenVersion(NamedTuple):
    """A served version, and what each replica answered."""

    proof: Proof
    source: str
    replicas: tuple[ReplicaReceipt, ...]


def plan_adoption(model_name: str, environment: Environment) -> Adoption | None:
    """Return what taking a model over comes to, None where it is slipway's already; nothing is changed.

    Raises `InvalidInput` where it cannot be taken over as it is, `ServiceUnavailable` where MLflow, the store or a
    replica does not answer.
    """
    if environment.repository.list_recorded(model_name):
        return None
    found = find_model(model_name, environment)
    return derive_adoption(found, match_model(found, environment.registry), environment)


def derive_adoption(found: FoundModel, matches: tuple[Match, ...], environment: Environment) -> Adoption:
    """Return the adoption of a model whose folders are known."""
    _require_agreement(found, matches, environment.repository)
    name, known = found.model_name, _list_known(matches)
    try:
        aliases = environment.registry.get_aliases(name)
    except NotRegistered:
        aliases = {}
    plan = ReleasePlan(
        model_name=name,
        kind="adoption",
        registry_version=known.get(found.live, -found.live),
        version=found.live,
        creates_version=False,
        already_live=False,
        flow_run_id=get_owner(),
        epoch=environment.epoch,
        config_before=found.config_before,
        served_before=found.served,
        also_serves=tuple(version for version in found.served if version != found.live),
        adopts=known,
        aliases_before=aliases,
        aliases_after=derive_aliases(aliases, found.served, known),
    )
    return Adoption(found=found, matches=matches, plan=plan)


def derive_aliases(before: dict[str, int], served: tuple[int, ...], known: Mapping[int, int]) -> dict[str, int]:
    """Return all aliases as they are to be: `live` on what answers, `previous` on what a rollback goes back to.

    That is the newest older version that is served, else the one that has the alias, else the newest there is; none
    where the registry does not know it.

    Args:
        before: all aliases.
        served: Triton's versions that are served.
        known: the registry's version of each Triton version that it knows.
    """
    live = known.get(max(served))
    others = {alias: number for alias, number in before.items() if alias not in {LIVE, PREVIOUS}}
    older = [version for version in sorted(served, reverse=True)[1:] if known.get(version) != live or live is None]
    if older:
        previous = known.get(older[0])
    else:
        stored = [known[version] for version in sorted(known, reverse=True) if version < max(served)]
        rest = [number for number in stored if number != live]
        previous = before[PREVIOUS] if before.get(PREVIOUS) in rest else next(iter(rest), None)
    wanted = {LIVE: live, PREVIOUS: previous}
    return others | {alias: number for alias, number in wanted.items() if number is not None}


def register_unknown(adoption: Adoption, environment: Environment) -> Adoption:
    """Register each folder that the registry does not know, checked as a release would, and return what is known then.

    Raises `UnusableModel` where one could not be released.
    """
    matches = []
    for match in adoption.matches:
        if match.registry_version is None:
            found, _ = adoption.find(match.version)
            number = register_folder(adoption.found, found, environment)
            match = match.model_copy(update={"registry_version": number, "how": "registered from the bucket"})
        matches.append(match)
    return derive_adoption(adoption.found, tuple(matches), environment)


def take_over(adoption: Adoption, environment: Environment, shapes: Mapping[str, Shape]) -> Receipt:
    """Prove what is served, then make the model slipway's; the model's lock has to be held.

    Whatever stops this before all is proven and recorded, whoever comes next leaves the model foreign; afterwards it is
    finished. Raises `VerificationFailed` where an answer is wrong, or no request is answered: nothing was changed then.
    """
    proven = {version: _prove(version, adoption, shapes, environment) for version in adoption.found.served}
    return write_down(adoption, proven, environment)


def write_down(adoption: Adoption, proven: Mapping[int, ProvenVersion], environment: Environment) -> Receipt:
    """Commit what is served, and record each version with its proof and its receipt."""
    plan, repository = adoption.plan, environment.repository
    config = adoption.found.config
    ensure_open(repository, plan)
    commit_plan(repository, plan, config)  # before any record: with one, and no policy, nobody could tell what is right
    for match in adoption.matches:
        found, _ = adoption.find(match.version)
        registered = _look_up(plan.model_name, match.registry_version, environment.registry)
        record_version(plan, found, match, registered, repository)
    receipts = {}
    for version, answered in proven.items():
        write_proof(repository, plan.model_name, version, answered.proof, takes_batches(config), count_rows(config))
        record_config(repository, plan.model_name, version, config, None)
        receipts[version] = _make_receipt(version, adoption, answered)
        record_receipt(receipts[version], repository)
    receipt = receipts[plan.version]
    complete(mark_proven(repository, plan, receipt), environment)
    return receipt


def make_rows(adoption: Adoption) -> list[dict[str, Any]]:
    """Return a table with one row a folder: where it is served, what it is, and what becomes of it."""
    aliases = {number: alias for alias, number in adoption.plan.aliases_after.items() if alias in {LIVE, PREVIOUS}}
    rows = []
    for match in sorted(adoption.matches, key=lambda match: match.version, reverse=True):
        is_served = match.version in adoption.found.served
        rows.append(
            {
                "Triton version": match.version,
                "served on": ", ".join(adoption.found.replicas) if is_served else "-",
                "MLflow version": match.registry_version or "unknown",
                "matched": match.how,
                "alias": aliases.get(match.registry_version or 0, "-"),
                "written": "policy, proof, receipt, record" if is_served else "record; moved to the archive",
            }
        )
    return rows


def _list_known(matches: tuple[Match, ...]) -> dict[int, int]:
    return {match.version: match.registry_version for match in matches if match.registry_version is not None}


def _require_agreement(found: FoundModel, matches: tuple[Match, ...], repository: ModelRepository) -> None:
    """Raise where a folder's own metadata.json, with checksums, is another registry's: it would be believed."""
    for match in matches:
        try:
            own = read_metadata(found.model_name, match.version, repository)
        except IntegrityError:  # nobody can, so nobody will
            continue
        if own.digests is not None and own.registry_version != match.registry_version:
            raise VersionConflict(
                f"model '{found.model_name}' version {match.version} in {repository.store.address}: its metadata.json "
                f"says MLflow version {own.registry_version}, and its files are {match.registry_version or 'of none'}; "
                "it was released from another registry: release that version anew, nothing was touched"
            )


def _look_up(model_name: str, number: int | None, registry: ModelRegistry) -> RegisteredVersion | None:
    return registry.get_version(model_name, number) if number is not None else None


def _prove(version: int, adoption: Adoption, shapes: Mapping[str, Shape], environment: Environment) -> ProvenVersion:
    """Ask the first replica as a release asks its candidate, and every replica for the same answers."""
    found, fleet, config = adoption.found, environment.fleet, adoption.found.config
    _, match = adoption.find(version)
    batched, first = takes_batches(config), found.replicas[0]
    fetched = _fetch(found.model_name, match.registry_version, environment.registry)
    contents = fetched.contents if fetched else _describe(found, version)
    tags = fetched.registered.tags if fetched else {}
    question = Question(fleet, first, found.model_name, version, batched, most_rows=count_rows(config))
    sources = Sources(
        golden=load_golden(fetched, environment.registry) if fetched else None,
        example=load_example(fetched, environment.registry) if fetched else None,
        given=read_given_shapes(contents.signature, tags, None, dict(shapes), question.subject),
        seed=version,
        requests=_REQUESTS,
    )
    on_gpu = fleet.computes_on_gpu(first, found.model_name)
    terms = choose_terms(None, tags, contents, on_gpu=on_gpu, subject=question.subject)
    asked = ask_candidate(question, contents.signature, sources, terms, None)
    proof = Proof(asked.exchanges, terms)
    replicas = [_ask_again(question._replace(address=each), proof, version == found.live) for each in found.replicas]
    if asked.comparison is not None:
        replicas[0] = replicas[0].model_copy(update={"comparison": asked.comparison})
    return ProvenVersion(proof, asked.source, tuple(replicas))


def _ask_again(question: Question, proof: Proof, is_live: bool) -> ReplicaReceipt:
    """Return what one replica's answers come to; `VerificationFailed` where they are not the first one's."""
    comparison: Comparison = question.compare(*proof)
    if is_live:
        question.unpinned.compare(*proof.first)
    p50, p95, p99 = np.percentile(time_requests(question, *Requests.of(proof, _TIMED_REQUESTS)), (50, 95, 99))
    return ReplicaReceipt(
        address=question.address,
        version=question.version,
        load_s=0.0,
        comparison=comparison,
        latency_p50_ms=float(p50),
        latency_p95_ms=float(p95),
        latency_p99_ms=float(p99),
    )


def _fetch(model_name: str, number: int | None, registry: ModelRegistry) -> FetchedModel | None:
    """Return a registered version with what proves it, None where there is none, or slipway could not release it."""
    if number is None:
        return None
    try:
        return fetch(registry.get_version(model_name, number), f"version:{number}", registry)
    except (UnusableModel, IntegrityError, InvalidInput) as error:
        warn(f"asks what is served with made-up inputs: {error}")
        return None


def _describe(found: FoundModel, version: int) -> Contents:
    """Return what a configuration tells of a version that the registry does not know."""
    config = parse_config(found.config)
    backend = find_backend(config)
    files = next(each for each in found.versions if each.version == version).sha256
    return Contents(
        backend=backend,
        model_file=find_model_file(config, backend),
        files=tuple(files),
        signature=read_signature(config),
    )


def _make_receipt(version: int, adoption: Adoption, answered: ProvenVersion) -> Receipt:
    found, match = adoption.find(version)
    agreed: AgreementTerms = answered.proof.terms
    asked = f"{answered.source}, as served; {agreed.kind}, {agreed.tolerance:.0e} allowed ({agreed.reason})"
    return Receipt(
        **adoption.plan.model_dump(include={"model_name", "kind", "flow_run_id", "aliases_before", "aliases_after"}),
        registry_version=match.registry_version or -version,
        version=version,
        reason=f"matched: {match.how}",
        live_since=datetime.now(UTC),
        sha256=found.sha256,
        gates={"as served": asked},
        replicas=answered.replicas,
    )
