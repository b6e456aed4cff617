"""The deployment receipt: one table that says what serves, where it came from and how it was proven."""

import re

from prefect.artifacts import create_table_artifact

from tasks.deployment.fetch_model import FetchedModel
from tasks.deployment.plan import ReleasePlan
from tasks.deployment.reload_triton import LoadedReplica
from tasks.deployment.update_aliases import AliasChange
from tasks.deployment.verify_deployment import VerifiedReplica


def write_receipt(
    fetched: FetchedModel,
    plan: ReleasePlan,
    loaded: tuple[LoadedReplica, ...],
    aliases: AliasChange,
    verified: tuple[VerifiedReplica, ...],
) -> None:
    """Store a table artifact with one row a replica, under the key receipt-<model>."""
    load_s = {replica.address: replica.load_s for replica in loaded}
    rows = [
        {
            "replica": replica.address,
            "Triton version": replica.version,
            "MLflow version": plan.registry_version,
            "golden samples": replica.golden_samples,
            "top-1 agreement": replica.top1_agreement,
            "largest difference": None if replica.max_difference is None else float(f"{replica.max_difference:.2g}"),
            "p50 ms": round(replica.latency_p50_ms, 2),
            "p95 ms": round(replica.latency_p95_ms, 2),
            "load s": round(load_s.get(replica.address, 0.0), 2),
        }
        for replica in verified
    ]
    checksums = ", ".join(f"`{file.name}` {file.sha256}" for file in fetched.files)
    create_table_artifact(
        key=receipt_key(plan.model_name),
        table=rows,
        description=f"**{plan.model_name}** version {plan.registry_version} is live. SHA-256: {checksums}. "
        f"Aliases before: {_listed(aliases.before)}; after: {_listed(aliases.after)}.",
    )


def _listed(aliases: dict[str, int]) -> str:
    return ", ".join(f"{alias} = {version}" for alias, version in sorted(aliases.items())) or "none"


def receipt_key(model_name: str) -> str:
    """Return an artifact key, which takes lower-case letters, digits and dashes only."""
    return "receipt-" + re.sub(r"[^a-z0-9]+", "-", model_name.lower()).strip("-")
