"""The receipt of a release: what serves, since when, where it came from and how each replica proved it."""

from datetime import UTC, datetime
from typing import Any

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from blocks.errors import IntegrityError
from blocks.labels import (
    CHANGED_CLASSES_TAG,
    PARENT_MODEL_TAG,
    PARENT_RUN_TAG,
    PARENT_VERSION_TAG,
    PRECISION_TAG,
    RECEIPT_FILE,
    RECEIPT_TAG,
    VALIDATION_MAX_DIFF_TAG,
    VALIDATION_PASSED_TAG,
    VARIANT_GATE_1_TAG,
)
from blocks.registry import ModelRegistry
from blocks.repository import ModelRepository
from blocks.run import make_artifact_key, publish_table
from slipway.releases.agreement import Comparison
from slipway.releases.fetched import FetchedModel
from slipway.releases.plan import ReleasePlan, name_registered
from slipway.releases.proven_candidate import ProvenCandidate
from slipway.releases.replicas import LoadedReplica
from slipway.releases.serving_settings import ServingSettings
from slipway.releases.verification import VerifiedReplica

_STATES = {"withdrawal": "is out of service", "adoption": "is live, taken over"}


class ReplicaReceipt(BaseModel):
    """What one replica serves, and the proof of it."""

    model_config = ConfigDict(frozen=True, extra="ignore")

    address: str
    version: int
    load_s: float
    comparison: Comparison | None = None
    latency_p50_ms: float | None = None
    latency_p95_ms: float | None = None
    latency_p99_ms: float | None = None
    proven_s: float | None = Field(default=None, description="Seconds from the committed policy to the proof.")


class Receipt(BaseModel):
    """A release or rollback that was proven on every replica."""

    model_config = ConfigDict(frozen=True, extra="ignore", protected_namespaces=())

    model_name: str
    kind: str
    reason: str | None = None
    registry_version: int = Field(description="Below 0 where the registry does not know the version.")
    version: int
    flow_run_id: str
    training_run_id: str | None = None
    precision: str | None = Field(default=None, description="fp32, fp16 or int8, where the version says so.")
    live_since: datetime
    sha256: dict[str, str] = Field(
        default={}, description="Of each file: as registered, as fetched, and as stored before and after loading."
    )
    aliases_before: dict[str, int]
    aliases_after: dict[str, int]
    gates: dict[str, str] = Field(default={}, description="Each gate passed, with its figures.")
    candidate: ProvenCandidate | None = None
    settings: ServingSettings = Field(default=ServingSettings(), description="What settings said of how it is served.")
    approval: str | None = Field(default=None, description="Who said yes, and what they said.")
    replicas: tuple[ReplicaReceipt, ...]
    left_to_reconcile: tuple[str, ...] = Field(default=(), description="Replicas that did not answer.")


def make_receipt(
    plan: ReleasePlan,
    fetched: FetchedModel,
    candidate: ProvenCandidate,
    loaded: tuple[LoadedReplica, ...],
    verified: tuple[VerifiedReplica, ...],
    **further: Any,
) -> Receipt:
    """Return the receipt of a release that is proven."""
    load_s = {replica.address: replica.load_s for replica in loaded}
    proof = {"comparison", "latency_p50_ms", "latency_p95_ms", "latency_p99_ms", "address", "version"}
    return Receipt(
        **plan.model_dump(include=set(Receipt.model_fields) & set(ReleasePlan.model_fields)),
        training_run_id=fetched.registered.tags.get(PARENT_RUN_TAG),
        precision=fetched.registered.tags.get(PRECISION_TAG),
        sha256={file.name: file.sha256 for file in fetched.files},
        gates=list_gates(fetched, candidate),
        candidate=candidate,
        replicas=tuple(
            ReplicaReceipt(load_s=load_s.get(replica.address, 0.0), **replica.model_dump(include=proof))
            for replica in verified
        ),
        live_since=datetime.now(UTC),
        **further,
    )


def renew_receipt(
    plan: ReleasePlan, replicas: tuple[ReplicaReceipt, ...], addresses: list[str], repository: ModelRepository
) -> Receipt:
    """Return the receipt of a rollback to a version that was still served: its first one, brought up to date."""
    before = read_receipt(repository, plan.model_name, plan.version)
    kept = before.model_dump(include={"training_run_id", "precision", "sha256", "gates", "candidate"}) if before else {}
    proven = {replica.address for replica in replicas}
    return Receipt(
        **plan.model_dump(include=set(Receipt.model_fields) & set(ReleasePlan.model_fields)),
        **kept,
        replicas=replicas,
        left_to_reconcile=tuple(address for address in addresses if address not in proven),
        live_since=datetime.now(UTC),
    )


def record_receipt(receipt: Receipt, repository: ModelRepository) -> None:
    """Store a receipt with the version's record; storing it again changes nothing."""
    content = receipt.model_dump_json(indent=2)
    repository.write_record(receipt.model_name, receipt.version, RECEIPT_FILE, content.encode())


def tag_receipt(receipt: Receipt, registry: ModelRegistry) -> None:
    """Write a receipt on the MLflow version, where there is one; writing it again changes nothing."""
    if receipt.registry_version < 1:
        return
    registry.tag_version(receipt.model_name, receipt.registry_version, {RECEIPT_TAG: receipt.model_dump_json()})


def read_receipt(repository: ModelRepository, model_name: str, version: int) -> Receipt | None:
    """Return the receipt of a version's last release, None where it was never released.

    Receipts of every slipway are read, unknown fields passed over; `IntegrityError` where one cannot be.
    """
    content = repository.read_record(model_name, version, RECEIPT_FILE)
    try:
        return Receipt.model_validate_json(content) if content is not None else None
    except ValidationError as error:
        raise IntegrityError(
            f"model '{model_name}' version {version}: its record {RECEIPT_FILE} cannot be read "
            f"({error.error_count()} errors, the first: {error.errors()[0]['msg']}); delete it, or release it again"
        ) from error


def list_gates(fetched: FetchedModel, candidate: ProvenCandidate | None) -> dict[str, str]:
    """Return each gate a version passed, with its figures; one that left no trace is not named."""
    tags, gates = fetched.registered.tags, {}
    if parent := tags.get(PARENT_MODEL_TAG):
        own = f"; {tags.get(PRECISION_TAG)}: {found}" if (found := tags.get(VARIANT_GATE_1_TAG)) else ""
        gates["gate 1"] = f"{parent} version {tags.get(PARENT_VERSION_TAG, '?')} promoted{own}"
    if tags.get(VALIDATION_PASSED_TAG, "").lower() == "true":
        gates["gate 2"] = f"{_name_compared(tags)}, largest difference {tags.get(VALIDATION_MAX_DIFF_TAG, '?')}"
    if candidate is not None and (candidate.source or candidate.comparison):
        gates["candidate"] = _describe_candidate(candidate)
    if candidate is not None and candidate.service_level is not None:
        level = candidate.service_level
        gates["gate 3"] = f"p99 {level.candidate.p99_ms:.1f} ms, {level.candidate_throughput_per_s:.0f} requests/s"
    return gates


def _name_compared(tags: dict[str, str]) -> str:
    """Return what gate 2 compared; a variant in fewer bits with FP32, over the whole validation set."""
    precision = tags.get(PRECISION_TAG, "fp32")
    if precision == "fp32":
        return "ONNX against PyTorch"
    return f"{precision} against fp32, {tags.get(CHANGED_CLASSES_TAG, '?')} of the classes changed"


def show_receipt(receipt: Receipt) -> None:
    """Show a receipt as a table with one row a replica, under the key receipt-<model>."""
    rows = [_make_row(replica, receipt) for replica in receipt.replicas]
    publish_table(make_artifact_key("receipt", receipt.model_name), rows, _describe(receipt))


def format_aliases(aliases: dict[str, int]) -> str:
    """Return aliases as words."""
    return ", ".join(f"{alias} = {version}" for alias, version in sorted(aliases.items())) or "none"


def format_settings(settings: ServingSettings) -> str:
    """Return what settings say as words."""
    return ", ".join(f"{name} = {value}" for name, value in settings.said.items()) or "none"


def _describe_candidate(candidate: ProvenCandidate) -> str:
    """Return what the candidate was asked, how near its answers came, and whether Triton may join requests to it."""
    found, agreed, source = candidate.comparison, candidate.agreement, candidate.source
    if found is not None and not source:
        source = f"{found.samples} golden samples"
    asked = f"{source} on {candidate.address}"
    if found is not None:
        allowed = f"{agreed.tolerance:.0e} allowed ({agreed.reason})"
        asked += f", {agreed.kind} difference {found.max_difference:.1e}, {allowed}"
    return f"{asked}; batching {candidate.batching}" if candidate.batching else asked


def _make_row(replica: ReplicaReceipt, receipt: Receipt) -> dict[str, Any]:
    found = replica.comparison
    return {
        "replica": replica.address,
        "Triton version": replica.version,
        "MLflow version": name_registered(receipt.registry_version),
        "golden samples": found.samples if found else 0,
        "top-1 agreement": found.top1_agreement if found else None,
        "largest difference": _round(found.max_difference if found else None),
        "against ONNX Runtime": _round(found.max_difference_onnxruntime if found else None),
        "p50 ms": _round(replica.latency_p50_ms),
        "p95 ms": _round(replica.latency_p95_ms),
        "p99 ms": _round(replica.latency_p99_ms),
        "load s": round(replica.load_s, 2),
    }


def _describe(receipt: Receipt) -> str:
    checksums = ", ".join(f"`{name}` {sha256}" for name, sha256 in receipt.sha256.items())
    gates = "; ".join(f"{gate}: {figures}" for gate, figures in receipt.gates.items())
    left = f" Left to reconcile-models: {', '.join(receipt.left_to_reconcile)}." if receipt.left_to_reconcile else ""
    because = f" ({receipt.kind}: {receipt.reason})" if receipt.reason else ""
    subject = f"**{receipt.model_name}** version {name_registered(receipt.registry_version)}"
    return (
        f"{subject} {_STATES.get(receipt.kind, 'is live')}{because}. SHA-256, registry = repository = served: "
        f"{checksums or 'see the first receipt'}. Gates: {gates or 'none recorded'}. Settings: "
        f"{format_settings(receipt.settings)}. Aliases before: "
        f"{format_aliases(receipt.aliases_before)}; after: {format_aliases(receipt.aliases_after)}.{left}"
    )


def _round(value: float | None) -> float | None:
    return None if value is None else float(f"{value:.3g}")
