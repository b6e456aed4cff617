"""`slipway status`, `explain-live`, `compare`, `rollback` and `reconcile`: what models serve, and bringing it back."""

import logging
import re
from collections import Counter
from pathlib import Path
from typing import Annotated, Any

from cyclopts import Parameter
from prefect.client.schemas.objects import State
from prefect.logging.handlers import PrefectConsoleHandler
from rich.table import Column, Table
from rich.text import Text

from blocks.environment import load_environment, require_prefect
from infra.command.exit_codes import ExitCode
from infra.command.screen import console, show_table
from slipway.releases.drift import Drift
from slipway.releases.explanation import Explanation, explain_live
from slipway.releases.receipt import Receipt, format_aliases, format_settings
from slipway.releases.serving_settings import ServingSettings
from slipway.releases.survey import Depth, ModelState, survey
from slipway.releases.versions_compared import VersionsCompared, compare_versions
from slipway.releases.withdrawn import Withdrawn

_MOST_COLUMNS = 4


def _check_numbers(_: type, versions: str) -> None:
    if not re.fullmatch(r"[1-9][0-9]{0,8}(,[1-9][0-9]{0,8})*", versions):
        raise ValueError(f"observed {versions!r}, expected numbers with commas between, say 1,2")


def show_status(*models: str) -> None:
    """Show every model: aliases, versions in repository and archive, what each replica serves, drift.

    Parameters
    ----------
    models
        Only these models.
    """
    require_prefect()
    depth = Depth(ask_replicas=False, compare_files=False, keep_archived=None)
    states = survey(models or None, load_environment(), depth)
    if states:
        show_table(make_model_table(states))
    else:
        console.print("no model is served, staged or live")


def show_live(model: str, *, json: bool = False) -> None:
    """Show what a model serves, since when, through which gates, and what a rollback would do.

    Parameters
    ----------
    model
        Name of the model in the MLflow registry.
    json
        Print it as JSON.
    """
    require_prefect()
    explanation = explain_live(model, load_environment())
    if json:
        console.print(explanation.model_dump_json(indent=2))
    else:
        show_table(make_explanation_table(explanation))


def compare(
    model: str,
    *,
    versions: Annotated[str, Parameter(validator=_check_numbers)],
    samples: Path | None = None,
    json: bool = False,
) -> None:
    """Compare versions of a model that are served side by side: how far their answers agree, and how fast they are.

    Parameters
    ----------
    model
        Name of the model in the MLflow registry.
    versions
        Triton's numbers, by which clients ask for them, the one to compare with first: 1,2.
    samples
        An npz with arrays input/<tensor>; left out, what proves the newest of the versions.
    json
        Print it as JSON.
    """
    require_prefect()
    compared = compare_versions(model, tuple(map(int, versions.split(","))), load_environment(), samples=samples)
    if json:
        console.print(compared.model_dump_json(indent=2))
        return
    console.print(
        f"{model} on {compared.address}: {compared.samples} samples, {compared.source}; latency of {compared.requests} "
        "requests each"
    )
    show_table(make_comparison_table(compared))


def roll_back(model: str, *, to: str = "alias:previous", reason: str = "") -> None:
    """Roll a model back, as the flow rollback-model.

    Parameters
    ----------
    model
        Name of the model in the MLflow registry.
    to
        alias:previous, or version:N for an older version.
    reason
        Why; kept with the version rolled back from.
    """
    from flows.rollback import Rollback, rollback_model

    require_prefect()
    keep_log_off_the_screen()
    state: State[Any] = rollback_model(model, to, reason, return_state=True)
    outcome: Rollback = state.result()
    if outcome.receipt is None:
        console.print(state.message)
        return
    console.print(
        f"{model}: version {outcome.plan.registry_version} is live again, proven on {len(outcome.receipt.replicas)} "
        f"replicas in {outcome.proven_s:.2f} s; aliases {format_aliases(outcome.plan.aliases_after)}"
    )


def reconcile(*models: str, dry_run: Annotated[bool, Parameter(negative=())] = False) -> ExitCode:
    """Repair what drifted and show what is left, as the flow reconcile-models; status 1 where something is.

    Parameters
    ----------
    models
        Only these models.
    dry_run
        Change nothing.
    """
    from flows.reconciliation import reconcile_models

    require_prefect()
    keep_log_off_the_screen()
    outcome = reconcile_models(list(models) or None, dry_run)
    console.print(f"models {outcome.models}, repaired {len(outcome.repaired)}, left {len(outcome.left)}")
    for label, findings in (("repaired", outcome.repaired), ("left", outcome.left)):
        for drift in findings:
            console.print(f"  {label}: {_describe_drift(drift)}")
    return ExitCode.FAILED if outcome.left else ExitCode.DONE


def make_model_table(states: tuple[ModelState, ...]) -> Table:
    """Return a table with one row a model; what is too long for its column goes on below, the longest first.

    Each replica has a column of its own, as long as there are few.
    """
    addresses = sorted({address for state in states for address in state.served})
    columns = addresses if len(addresses) <= _MOST_COLUMNS else [f"on {len(addresses)} replicas"]
    headers = ("model", "aliases", "policy", "repository", "archive", *columns, "drift")
    table = Table(*(Column(header, overflow="fold") for header in headers), box=None, pad_edge=False)
    for state in states:
        versions = (_list_versions(held) for held in (state.policy, state.repository, state.archive))
        served = [_describe_served(state.served[address]) for address in addresses]
        cells = served if len(addresses) <= _MOST_COLUMNS else [_sum_up(served)]
        table.add_row(state.name, format_aliases(state.aliases), *versions, *cells, _name_drift(state))
    return table


def make_explanation_table(explanation: Explanation) -> Table:
    """Return a table with what a model serves now, the proof of it, and the way back."""
    state, receipt = explanation.state, explanation.receipt
    newest = max(state.policy, default="nothing")
    table = Table(Column(), Column(overflow="fold"), box=None, pad_edge=False, show_header=False)
    table.add_row("model", state.name)
    table.add_row("aliases", format_aliases(state.aliases))
    table.add_row("served", f"{_list_versions(state.policy)}; unversioned requests: {newest}")
    for label, value in _list_proof(receipt) if receipt else [_explain_nothing(explanation.withdrawn)]:
        table.add_row(label, value)
    if explanation.settings != (receipt.settings if receipt else ServingSettings()):
        table.add_row("pending settings", f"{format_settings(explanation.settings)}, from the next release on")
    for address, served in state.served.items():
        table.add_row(f"now on {address}", "silent" if served is None else _list_versions(served))
    table.add_row("drift", "; ".join(_describe_drift(drift) for drift in state.drift) or "none")
    table.add_row("rollback", explanation.rollback)
    return table


def make_comparison_table(compared: VersionsCompared) -> Table:
    """Return a table with one row a version, each beside the first."""
    first = compared.versions[0].version
    headers = ("version", "MLflow", f"difference from {first}", f"same class as {first}", "p50 ms", "p95 ms", "p99 ms")
    table = Table(*(Column(header, overflow="fold") for header in headers), box=None, pad_edge=False)
    for found in compared.versions:
        latencies = (f"{elapsed:.2f}" for elapsed in (found.p50_ms, found.p95_ms, found.p99_ms))
        agreement = (f"{found.max_difference:.1e}", f"{found.same_class:.1%}")
        table.add_row(str(found.version), str(found.registry_version or "-"), *agreement, *latencies)
    return table


def _list_proof(receipt: Receipt) -> list[tuple[str, str]]:
    """Return label and text of all that a receipt says."""
    because = f", because: {receipt.reason}" if receipt.reason else ""
    proofs = [
        f"{replica.address}: {replica.comparison.samples} samples, largest difference "
        f"{replica.comparison.max_difference:.1e}"
        for replica in receipt.replicas
        if replica.comparison is not None
    ]
    return [
        ("live", f"MLflow version {receipt.registry_version}, Triton version {receipt.version}"),
        ("since", f"{receipt.live_since:%Y-%m-%d %H:%M:%S %Z}"),
        ("by", f"{receipt.kind}, flow run {receipt.flow_run_id}{because}"),
        ("training run", receipt.training_run_id or "not recorded"),
        ("precision", receipt.precision or "not recorded"),
        *((gate, figures) for gate, figures in receipt.gates.items()),
        ("settings", format_settings(receipt.settings)),
        ("approval", receipt.approval or "not asked for"),
        *((f"SHA-256 of {name}", sha256) for name, sha256 in receipt.sha256.items()),
        *(("proven on", proof) for proof in proofs),
    ]


def _explain_nothing(withdrawn: Withdrawn | None) -> tuple[str, str]:
    """Return label and text of why nothing is live."""
    if withdrawn is None:
        return "receipt", "none: nothing was released by slipway"
    because = f", because: {withdrawn.reason}" if withdrawn.reason else ""
    served = ", ".join(map(str, withdrawn.served)) or "none"
    when = f"{withdrawn.at:%Y-%m-%d %H:%M:%S %Z}"
    return "withdrawn", f"{when}, flow run {withdrawn.flow_run_id}{because}; served until then: {served}"


def _name_drift(state: ModelState) -> Text:
    if state.foreign:
        return Text("foreign, not touched")
    if state.withdrawn is not None and not state.drift:
        return Text(f"withdrawn {state.withdrawn:%Y-%m-%d}")
    kinds = ", ".join(sorted({finding.kind for finding in state.drift}))
    return Text(kinds, "red") if kinds else Text("none", "green")


def _describe_drift(drift: Drift) -> str:
    where = f" on {drift.address}" if drift.address else ""
    return f"{drift.model_name}: {drift.kind}{where}, observed {drift.observed}, expected {drift.expected}"


def _describe_served(versions: tuple[int, ...] | None) -> Text:
    return Text("silent", "red") if versions is None else Text(_list_versions(versions))


def _sum_up(served: list[Text]) -> Text:
    """Return what many replicas serve: how many of them do, where they differ."""
    counted = Counter(text.plain for text in served)
    if len(counted) == 1:
        return served[0]
    return Text("; ".join(f"{said}: {number}" for said, number in counted.most_common()), "red")


def _list_versions(versions: tuple[int, ...]) -> str:
    return ", ".join(map(str, versions)) or "-"


def keep_log_off_the_screen() -> None:
    """Leave a flow's log to Prefect, where it is complete; the screen shows the outcome."""
    for name in (None, "prefect"):
        for handler in logging.getLogger(name).handlers:
            if isinstance(handler, PrefectConsoleHandler):
                handler.setLevel(logging.CRITICAL + 1)
